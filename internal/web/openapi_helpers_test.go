package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/labstack/echo/v4"

	"tecken-upload/internal/testenv"
)

// A contract is the document of the API, and what of it real exchanges have shown to be so.
type contract struct {
	*testing.T
	doc    *openapi3.T
	router routers.Router
	shown  map[string]bool
}

func readContract(t *testing.T) *contract {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(filepath.Join(testenv.Root(t), "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()); err != nil {
		t.Fatalf("docs/openapi.yaml: %v", err)
	}
	for name, schema := range doc.Components.Schemas {
		if closed := schema.Value.AdditionalProperties.Has; schema.Value.Type.Is("object") && (closed == nil || *closed) {
			t.Errorf("the schema %s lets properties in that it does not name", name)
		}
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &contract{T: t, doc: doc, router: router, shown: make(map[string]bool)}
}

// operations are those of the document, as "GET /path/{parameter}".
func (c *contract) operations() []string {
	var all []string
	for path, item := range c.doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// routes are those of the server's router, in the same form.
func (s *site) routes() []string {
	s.Helper()
	e, ok := s.server.HTTPServer().Handler.(*echo.Echo)
	if !ok {
		s.Fatal("the handler is not the router")
	}
	var all []string
	for _, r := range e.Routes() {
		parts := strings.Split(r.Path, "/")
		for i, p := range parts {
			if name, ok := strings.CutPrefix(p, ":"); ok {
				parts[i] = "{" + name + "}"
			}
		}
		all = append(all, r.Method+" "+strings.Join(parts, "/"))
	}
	slices.Sort(all)
	return all
}

// A request is one that is made, and the status that it is to be answered with.
type request struct {
	method, path string
	status       int
	header       []string // names and values in turn
	body         string
	wrong        bool // the document forbids the request too
}

func (c *contract) request(s *site, x request) *http.Request {
	c.Helper()
	var body io.Reader
	if x.body != "" {
		body = strings.NewReader(x.body)
	}
	r, err := http.NewRequestWithContext(c.Context(), x.method, s.url+x.path, body)
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i < len(x.header); i += 2 {
		r.Header.Add(x.header[i], x.header[i+1])
	}
	return r
}

// exchange makes a request of the site. Request and answer must be as the document says. It returns the answer's header.
func (c *contract) exchange(s *site, x request) http.Header {
	c.Helper()
	name := strings.Join(append([]string{x.method, x.path}, x.header...), " ")
	r := c.request(s, x)
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		c.Fatalf("%.200s: the document has no such operation: %v", name, err)
	}
	id := route.Operation.OperationID
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{
		SkipSettingDefaults: true, RejectWhenRequestBodyNotSpecified: true, AuthenticationFunc: bearsToken,
	}}
	if err := openapi3filter.ValidateRequest(c.Context(), in); (err != nil) != x.wrong {
		c.Errorf("%.200s: the document says of the request: %v", name, err)
	}
	resp, body := c.send(c.request(s, x))
	documented := route.Operation.Responses.Status(resp.StatusCode)
	if resp.StatusCode != x.status || documented == nil {
		c.Errorf("%.200s: status %d, want %d; it is documented: %t\n%.300s", name, resp.StatusCode, x.status, documented != nil, body)
		return resp.Header
	}
	answer := fmt.Sprintf("%s %d", id, resp.StatusCode)
	c.shown[answer] = true
	for part := range c.check(name, x.method, documented.Value, resp, body) {
		c.shown[answer+" "+part] = true
	}
	if resp.StatusCode < http.StatusBadRequest && !x.wrong {
		c.used(id, route, r)
		c.wantKnown(name, route, r)
	}
	return resp.Header
}

// bearsToken reports whether the request has the token that an operation asks for.
func bearsToken(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	if in.RequestValidationInput.Request.Header.Get(in.SecurityScheme.Name) == "" {
		return errors.New("no token")
	}
	return nil
}

// send sends a request, following no redirect and inflating nothing.
func (c *contract) send(r *http.Request) (*http.Response, []byte) {
	c.Helper()
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatalf("%s %s: read: %v", r.Method, r.URL, err)
	}
	return resp, body
}

// plumbing are fields of every header, which no document need tell of.
var plumbing = []string{"Connection", "Content-Length", "Content-Type", "Date"}

// check compares an answer with the document's: it has no header that is not documented, those that must be there, and the
// content. It returns what parts of the documented answer were there.
func (c *contract) check(name, method string, want *openapi3.Response, resp *http.Response, body []byte) map[string]bool {
	c.Helper()
	seen := make(map[string]bool)
	for field := range want.Headers {
		if resp.Header.Get(field) != "" {
			seen["header "+http.CanonicalHeaderKey(field)] = true
		}
	}
	for field := range resp.Header {
		if !seen["header "+field] && !slices.Contains(plumbing, field) {
			c.Errorf("%.200s: status %d has a header that is not documented: %s: %s", name, resp.StatusCode, field, resp.Header.Get(field))
		}
	}
	mediaType := resp.Header.Get("Content-Type")
	plain, _, _ := strings.Cut(mediaType, ";")
	switch {
	case want.Content.Get(mediaType) != nil:
		seen["content "+plain] = true
	case mediaType != "" || want.Content != nil:
		c.Errorf("%.200s: status %d has the content type %q", name, resp.StatusCode, mediaType)
	}
	if len(body) > 0 && (method == http.MethodHead || want.Content == nil) {
		c.Errorf("%.200s: status %d has a body", name, resp.StatusCode)
	}
	if err := c.validate(method, want, resp.Header, body); err != nil {
		c.Errorf("%.200s: status %d: %v", name, resp.StatusCode, err)
	}
	return seen
}

// validate compares headers and body with their schemas. The library looks at neither in answers to HEAD, or in a 304: to it
// each answer is a 200 to a GET.
func (c *contract) validate(method string, want *openapi3.Response, header http.Header, body []byte) error {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	answers := openapi3.NewResponses(openapi3.WithStatus(http.StatusOK, &openapi3.ResponseRef{Value: want}))
	return openapi3filter.ValidateResponse(c.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: c.doc, Operation: &openapi3.Operation{Responses: answers}},
		},
		Status:  http.StatusOK,
		Header:  header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{MultiError: true, ExcludeResponseBody: method == http.MethodHead},
	})
}

// used notes what of an operation a request that succeeded made use of.
func (c *contract) used(id string, route *routers.Route, r *http.Request) {
	for _, p := range slices.Concat(route.PathItem.Parameters, route.Operation.Parameters) {
		name := p.Value.Name
		if p.Value.In == openapi3.ParameterInPath || r.URL.Query().Has(name) || r.Header.Get(name) != "" {
			c.shown[id+" parameter "+name] = true
		}
	}
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	c.shown[id+" request "+mediaType] = true
}

// wantAllShown fails the test for everything in the document that no exchange has shown.
func (c *contract) wantAllShown() {
	c.Helper()
	want := make(map[string]bool)
	for _, item := range c.doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				want[op.OperationID+" parameter "+p.Value.Name] = true
			}
			if op.RequestBody != nil {
				for mediaType := range op.RequestBody.Value.Content {
					want[op.OperationID+" request "+mediaType] = true
				}
			}
			for status, answer := range op.Responses.Map() {
				name := op.OperationID + " " + status
				want[name] = true
				for field := range answer.Value.Headers {
					want[name+" header "+http.CanonicalHeaderKey(field)] = true
				}
				for mediaType := range answer.Value.Content {
					want[name+" content "+mediaType] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !c.shown[name] {
			c.Errorf("the document tells of %s, which no exchange has shown", name)
		}
	}
}
