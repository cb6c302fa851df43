package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/upload"
)

// wantKnown fails the test where a request that succeeded had parameters that the document does not name. The library lets
// them through.
func (c *contract) wantKnown(name string, route *routers.Route, r *http.Request) {
	c.Helper()
	known := slices.Concat(route.PathItem.Parameters, route.Operation.Parameters)
	for parameter := range r.URL.Query() {
		if known.GetByInAndName(openapi3.ParameterInQuery, parameter) == nil {
			c.Errorf("%.200s: the document names no parameter %s", name, parameter)
		}
	}
}

// strangers asks without a token for everything that a token is good for, by its security or by its answers.
func (c *contract) strangers(s *site) {
	c.Helper()
	asked := 0
	for _, operation := range c.operations() {
		method, path, _ := strings.Cut(operation, " ")
		op := c.doc.Paths.Value(path).GetOperation(method)
		if op.Security == nil && op.Responses.Status(http.StatusForbidden) == nil {
			continue
		}
		asked++
		c.exchange(s, request{method: method, path: c.example(path), status: 403, wrong: true})
	}
	if asked < 7 {
		c.Errorf("%d operations want a token", asked)
	}
}

// queries compares the parameters of each list of records, what they may be and what they are unsaid, with what the server says.
func (c *contract) queries(s *site) {
	c.Helper()
	for _, path := range []string{"/api/uploads/", "/api/uploads/files/"} {
		for _, p := range c.doc.Paths.Value(path).Get.Parameters {
			c.values(s, path, p.Value)
		}
	}
}

// values compares what one parameter may be.
func (c *contract) values(s *site, address string, p *openapi3.Parameter) {
	c.Helper()
	faults, _ := object(s.ask(s.token, address+"?"+p.Name+"=0").body, "errors")[p.Name].([]any)
	refusal := fmt.Sprint(faults...)
	schema := p.Schema.Value
	switch {
	case p.Name == "batch_size":
		most, fallback := bound(schema.Max), s.ask(s.token, address).body["batch_size"]
		if want := fmt.Sprintf("batch_size is %v to %v; it is not", bound(schema.Min), most); !strings.HasPrefix(refusal, want) || fallback != schema.Default {
			c.Errorf("%s: %q, and %v if not said; documented are %q and %v", address, refusal, fallback, want, schema.Default)
		}
	case len(schema.Enum) > 0:
		var documented []string
		for _, v := range schema.Enum {
			documented = append(documented, fmt.Sprint(v))
		}
		slices.Sort(documented)
		taken := between(strings.ReplaceAll(refusal, " or ", ", "), p.Name+" is ", "; it is not")
		slices.Sort(taken)
		if diff := cmp.Diff(documented, taken); diff != "" {
			c.Errorf("%s: %s (-documented +taken)\n%s", address, p.Name, diff)
		}
	}
}

func bound(v *float64) float64 {
	if v == nil {
		return -1
	}
	return *v
}

// between returns the list between two parts of a sentence.
func between(sentence, before, behind string) []string {
	_, rest, _ := strings.Cut(sentence, before)
	list, _, _ := strings.Cut(rest, behind)
	return strings.Split(list, ", ")
}

// constants compares the values that answers may have with all that there are.
func (c *contract) constants() {
	c.Helper()
	all := map[string][]any{
		"state": {upload.FilePending, upload.FileUploaded, upload.FileSkipped, upload.FileIgnored},
		"outcome": {
			upload.Completed, upload.Rejected, upload.Failed, upload.TimedOut, upload.Cancelled, upload.Interrupted, nil,
		},
	}
	seen := 0
	for name, schema := range c.doc.Components.Schemas {
		for property, want := range all {
			if p := schema.Value.Properties[property]; p != nil && p.Value.Type.Is("string") {
				seen++
				if got, want := texts(c, p.Value.Enum), texts(c, want); !slices.Equal(got, want) {
					c.Errorf("%s: %s is one of %s, want %s", name, property, got, want)
				}
			}
		}
	}
	if seen < len(all) {
		c.Errorf("%d schemas tell of states or outcomes", seen)
	}
}

// texts returns values as JSON, in order.
func texts(c *contract, values []any) []string {
	c.Helper()
	all := make([]string, len(values))
	for i, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			c.Fatal(err)
		}
		all[i] = string(text)
	}
	slices.Sort(all)
	return all
}
