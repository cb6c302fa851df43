package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

func wantFault(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, not an error that says %q", err, text)
	}
}

func TestAnswers(t *testing.T) {
	tpl := &template{size: 10, members: make([]testarchive.Member, 2), ignored: 1}
	c := &client{tenant: &tenant{name: "a"}}
	created := `{"upload": {"id": 7, "size": %d, "user": %q, "uploaded_keys": ["x"], "skipped_keys": [%s], "ignored_keys": ["z"]}}`
	busyBody := `{"error": "Busy."}`
	for _, c2 := range []struct {
		name, status, header, body string
		ending                     ending
		fault                      string
	}{
		{"accepted", "201 Created", "", fmt.Sprintf(created, 10, "a@example.com", `"y"`), accepted, ""},
		{"another size", "201 Created", "", fmt.Sprintf(created, 11, "a@example.com", `"y"`), "", "another upload"},
		{"another user", "201 Created", "", fmt.Sprintf(created, 10, "b@example.com", `"y"`), "", "another upload"},
		{"a member less", "201 Created", "", fmt.Sprintf(created, 10, "a@example.com", ""), "", "another upload"},
		{"busy", "503 Service Unavailable", "Retry-After: 120\r\n", busyBody, busy, ""},
		{"over its limit", "429 Too Many Requests", "Retry-After: 1\r\n", busyBody, overOwn, ""},
		{"for how long?", "503 Service Unavailable", "", busyBody, "", "Retry-After"},
		{"too long", "503 Service Unavailable", "Retry-After: 121\r\n", busyBody, "", "Retry-After"},
		{"not at all", "429 Too Many Requests", "Retry-After: 0\r\n", busyBody, "", "Retry-After"},
		{"a date", "429 Too Many Requests", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", busyBody, "", "Retry-After"},
		{"no reason", "503 Service Unavailable", "Retry-After: 5\r\n", `{}`, "", "no reason"},
		{"no JSON", "503 Service Unavailable", "Retry-After: 5\r\n", "Busy", "", "no JSON"},
		{"an error", "500 Internal Server Error", "", busyBody, "", "no refusal"},
		{"too late", "504 Gateway Timeout", "", busyBody, "", "no refusal"},
		{"continue", "100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable", "Retry-After: 5\r\n", busyBody, busy, ""},
	} {
		text := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", c2.status, c2.header, len(c2.body), c2.body)
		a := &attempt{job: &job{template: tpl}}
		switch err := c.read(bufio.NewReader(strings.NewReader(text)), a); {
		case c2.fault != "":
			wantFault(t, c2.fault, err)
		case err != nil || a.ending != c2.ending:
			t.Errorf("%s: %q, %v", c2.name, a.ending, err)
		case a.refused() && a.reason != "Busy.":
			t.Errorf("%s: refused for %q", c2.name, a.reason)
		}
		if err := c.read(bufio.NewReader(strings.NewReader(text[:len(text)-1])), &attempt{job: &job{template: tpl}}); err == nil {
			t.Errorf("%s: an answer cut short is no error", c2.name)
		}
	}
}

func TestRecords(t *testing.T) {
	tpl := &template{size: 10, members: make([]testarchive.Member, 2), ignored: 1}
	made := func(e ending, whole bool) *attempt {
		return &attempt{job: &job{template: tpl}, label: "c1.u1.a0", ending: e, id: 7, whole: whole}
	}
	good := row{id: 7, label: "c1.u1.a0", filename: "c1.u1.a0.tar.gz", size: 10, outcome: "completed", done: 2, ignored: 1, files: 3}
	changed := func(change func(*row)) []row {
		r := good
		change(&r)
		return []row{r}
	}
	outcome := func(o string) []row { return changed(func(r *row) { *r = row{id: r.id, label: r.label, outcome: o} }) }
	for _, c := range []struct {
		name  string
		made  *attempt
		rows  []row
		fault string
	}{
		{"as it should be", made(accepted, true), []row{good}, ""},
		{"twice", made(accepted, true), []row{good, good}, "recorded twice"},
		{"not at all", made(accepted, true), nil, "is not recorded"},
		{"another's", made(accepted, true), changed(func(r *row) { r.label = "c2.u1.a0" }), "nobody made"},
		{"another id", made(accepted, true), changed(func(r *row) { r.id++ }), "it was accepted"},
		{"another size", made(accepted, true), changed(func(r *row) { r.size++ }), "not as it was sent"},
		{"another name", made(accepted, true), changed(func(r *row) { r.filename = "x" }), "not as it was sent"},
		{"a member less", made(accepted, true), changed(func(r *row) { r.done-- }), "not as it was sent"},
		{"a file less", made(accepted, true), changed(func(r *row) { r.files-- }), "not as it was sent"},
		{"without an end", made(accepted, true), outcome(""), "no end"},
		{"accepted and failed", made(accepted, true), outcome("failed"), "it was accepted"},
		{"hung up", made(hungUp, false), outcome("cancelled"), ""},
		{"hung up, unseen", made(hungUp, false), nil, ""},
		{"hung up too late", made(hungUp, true), []row{good}, ""},
		{"hung up and completed", made(hungUp, false), []row{good}, "not all of it"},
		{"hung up and failed", made(hungUp, true), outcome("failed"), "hung up"},
		{"refused", made(busy, true), nil, ""},
		{"refused after its beginning", made(busy, true), outcome("failed"), "comes before"},
		{"refused by the way", made(overOwn, true), outcome("cancelled"), "comes before"},
		{"broken and failed", made(broken, true), outcome("failed"), "it failed"},
		{"broken and too late", made(broken, true), outcome("timed_out"), "it failed"},
		{"refused and completed", made(overOwn, true), []row{good}, "it was refused"},
	} {
		_, err := compareRecords(c.rows, []*attempt{c.made})
		if c.fault == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if c.fault != "" {
			wantFault(t, c.fault, err)
		}
	}
}

// TestRefusals: what the server does not count as a refusal is a failure of its own.
func TestRefusals(t *testing.T) {
	counted, err := readRefusals("tecken_refusals_total{reason=\"limit\"} 2\n" +
		"tecken_refusals_total{reason=\"spool\"} 1\ntecken_refusals_total{reason=\"time\"} 3\ntecken_refusals_total{reason=\"database\"} 7\n")
	if err != nil || counted[overOwn] != 2 || counted[busy] != 4 {
		t.Errorf("%v, %v", counted, err)
	}
	if _, err := readRefusals("tecken_refusals_total{reason=\"time\"} 3\n"); err == nil {
		t.Error("a metric without the tenants' limits is no error")
	}
	for _, c := range []struct {
		own, busy, hungUp int // answers
		fault             string
	}{
		{2, 4, 0, ""},
		{1, 3, 2, ""}, // two did not wait for the answer
		{2, 5, 0, "5 × 503 answered, of which 4 are refusals"},
		{3, 3, 0, "3 × 429 answered, of which 2 are refusals"},
		{1, 4, 0, "1 refusals counted that nobody was told of"},
		{2, 1, 2, "3 refusals counted that nobody was told of"},
	} {
		r := &load{options: options{wait: time.Second}}
		for e, n := range map[ending]int{overOwn: c.own, busy: c.busy, hungUp: c.hungUp, accepted: 1} {
			for i := range n {
				r.attempts = append(r.attempts, &attempt{label: fmt.Sprint(e, i), ending: e, took: time.Second})
			}
		}
		// This one is recorded: it was let in.
		r.attempts = append(r.attempts, &attempt{label: "late", ending: hungUp})
		l := r.refusalsLine([]row{{label: "late"}}, counted)
		if c.fault != "" {
			wantFault(t, c.fault, l.fault)
		} else if l.fault != nil {
			t.Errorf("%+v: %v", c, l.fault)
		}
	}
	hasty := &attempt{label: "c1.u1.a0", ending: busy, reason: "Busy.", took: 999 * time.Millisecond}
	r := &load{options: options{wait: time.Second}, attempts: []*attempt{hasty}}
	counted = map[ending]int{busy: 1}
	wantFault(t, "c1.u1.a0 after 999ms: 503: Busy.", r.refusalsLine(nil, counted).fault)
	if r.wait = 0; r.refusalsLine(nil, counted).fault != nil {
		t.Error("without a wait it may be refused at once")
	}
}

func TestQuiet(t *testing.T) {
	made := []*attempt{{ending: accepted}, {ending: accepted}}
	if l := judgeQuiet(made, 2); l.fault != nil || l.measured != "2 of 2 accepted" {
		t.Errorf("%+v", l)
	}
	for want, a := range map[string]*attempt{
		"c1.u1.a0 to a server with room: 503: Busy.": {label: "c1.u1.a0", ending: busy, reason: "Busy."},
		"429: Over.": {ending: overOwn, reason: "Over."},
		"reset":      {ending: broken, err: errors.New("reset")},
	} {
		wantFault(t, want, judgeQuiet(append(made, a), 2).fault)
	}
}

func TestComplaints(t *testing.T) {
	if l := judgeComplaints(map[string]int{"WARN slow": 2, "WARN slower": 1}); l.fault != nil || l.measured != "0, and 3 warnings" {
		t.Errorf("%+v", l)
	}
	for _, what := range []string{"ERROR upload ended backing service unavailable", "panic: no level at all"} {
		wantFault(t, "3 × "+what, judgeComplaints(map[string]int{"WARN slow": 2, what: 3}).fault)
	}
}

// TestReadback changes storage behind the server's back: what can't tell a difference shows no equality.
func TestReadback(t *testing.T) {
	s3server := testenv.S3(t)
	tpl := testTemplate(t, testarchive.Spec{Bytes: 20_000, Members: 3, Mix: testarchive.PlainMix, Store: true})
	const number = 0x10002
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(s3server.Endpoint), Region: s3server.Region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3server.Access, SecretAccessKey: s3server.Secret}, nil
		}),
	})
	// No .sym: these would have to be gzipped.
	tpl.members = tpl.members[1:3]
	for i := range tpl.members {
		if err := os.Rename(tpl.content(i+1), tpl.content(i)); err != nil {
			t.Fatal(err)
		}
	}
	key := func(i int) string {
		masked, _ := mask(tpl.members[i].Name)
		return "v1/" + strings.Replace(masked, "--------", fmt.Sprintf("%08X", number), 1)
	}
	put := func(key string, content []byte, m testarchive.Member) {
		t.Helper()
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &s3server.Bucket, Key: &key, Body: bytes.NewReader(content),
			Metadata: map[string]string{"original_size": fmt.Sprint(m.Size), "original_md5_hash": m.MD5}})
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func(key string) {
		t.Helper()
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s3server.Bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	compare := func(e ending) error {
		made := []*attempt{{job: &job{template: tpl, variant: number}, ending: e}}
		b := newReadback(client, s3server.Bucket, []*template{tpl}, made)
		return b.compare(t.Context())
	}
	var contents [2][]byte
	for i, m := range tpl.members {
		var err error
		if contents[i], err = os.ReadFile(tpl.content(i)); err != nil {
			t.Fatal(err)
		}
		put(key(i), contents[i], m)
	}
	if err := compare(accepted); err != nil {
		t.Fatal(err)
	}

	other := bytes.Clone(contents[0])
	other[len(other)-1]++
	put(key(0), other, tpl.members[0])
	wantFault(t, "differs", compare(accepted))
	put(key(0), contents[0], tpl.members[1])
	wantFault(t, "wrong metadata", compare(accepted))
	remove(key(0))
	wantFault(t, "1 of the 2 members", compare(accepted))
	if err := compare(hungUp); err != nil {
		t.Errorf("an upload that was cut off may be there in part: %v", err)
	}
	put("v1/nobody.pdb/00010002ABC/sent.pdb", contents[0], tpl.members[0])
	wantFault(t, "nobody sent", compare(hungUp))
	remove("v1/nobody.pdb/00010002ABC/sent.pdb")
	put(strings.Replace(key(0), "00010002", "00010003", 1), contents[0], tpl.members[0])
	wantFault(t, "an archive that nobody sent", compare(accepted))
}

func TestHeader(t *testing.T) {
	m := testarchive.Member{Size: 7, MD5: "aa"}
	good := map[string]string{"original_size": "7", "original_md5_hash": "aa"}
	for _, c := range []struct {
		key, kind, encoding string
		metadata            map[string]string
		fault               string
	}{
		{"a.sym", "text/plain", "gzip", good, ""},
		{"a.pdb", "application/octet-stream", "", good, ""},
		{"a.sym", "", "gzip", good, "content type"},
		{"a.sym", "text/plain; charset=utf-8", "gzip", good, "content type"},
		{"a.sym", "text/plain", "", good, "content type"},
		{"a.pdb", "application/octet-stream", "gzip", good, "content type"},
		{"a.pdb", "application/octet-stream", "identity", good, "content type"},
		{"a.pdb", "application/octet-stream", "", map[string]string{"original_size": "8", "original_md5_hash": "aa"}, "wrong metadata"},
		{"a.pdb", "application/octet-stream", "", map[string]string{"original_size": "7"}, "wrong metadata"},
	} {
		err := checkHeader(c.key, &s3.GetObjectOutput{ContentType: &c.kind, ContentEncoding: &c.encoding, Metadata: c.metadata}, m)
		if c.fault != "" {
			wantFault(t, c.fault, err)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// TestProxy plays both sides of it.
func TestProxy(t *testing.T) {
	storage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	p, err := newProxy(storage.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	connect := func() (server, there net.Conn) {
		t.Helper()
		server, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		there, err = storage.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return server, there
	}
	pass := func(from, to net.Conn, text string) {
		t.Helper()
		if _, err := io.WriteString(from, text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
			t.Fatalf("%q arrived as %q: %v", text, got, err)
		}
	}
	closed := func(c net.Conn, n int, count func(connCounts) int) {
		t.Helper()
		c.Close()
		for deadline := time.Now().Add(time.Minute); count(p.tally()) != n; <-time.After(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not counted: %+v", p.tally())
			}
		}
	}

	one, there := connect()
	pass(one, there, "PUT / HTTP/1.1\r\nAmz-Sdk-Request: attempt=1; max=6\r\n\r\nbody")
	pass(there, one, "HTTP/1.1 200 OK\r\n\r\n")
	pass(one, there, "PUT / HTTP/1.1\r\nAmz-Sdk-Requ") // a header in two pieces
	pass(one, there, "est: attempt=")
	pass(one, there, "2; max=6\r\n\r\n")
	closed(one, 1, func(c connCounts) int { return c.cut })
	two, there := connect()
	three, thereToo := connect()
	pass(two, there, "HEAD")
	pass(there, two, "200")
	closed(two, 1, func(c connCounts) int { return c.dropped })
	pass(three, thereToo, "HEAD")
	closed(thereToo, 1, func(c connCounts) int { return c.byStorage })
	c := p.tally()
	if c.opened != 3 || c.open != 0 || c.most != 2 || c.overFor <= 0 || p.requests.Load() != 1 || p.retries.Load() != 1 {
		t.Errorf("%+v, %d requests, %d retries", c, p.requests.Load(), p.retries.Load())
	}
}

// TestConnections: more connections than are explained break the promise.
func TestConnections(t *testing.T) {
	r := &load{options: options{slots: 2}, site: &site{proxy: &proxy{pool: 6}}, attempts: []*attempt{{ending: hungUp}}}
	counts := &r.site.proxy.counts
	counts.opened, counts.cut, counts.byStorage = 9, 2, 1 // 6 + 3
	wantFault(t, "9 connections opened, 8 are explained", r.connectionsLine().fault)
	r.site.proxy.retries.Store(1) // it cost the one that storage closed
	if l := r.connectionsLine(); l.fault != nil {
		t.Error(l.fault)
	}
	counts.byStorage = 2
	wantFault(t, "2 connections were closed by storage, with 1 retries", r.connectionsLine().fault)
	counts.byStorage = 1
	counts.dropped = 2 // one of them may be of the hang-up
	counts.opened += 2
	wantFault(t, "11 connections opened, 10 are explained", r.connectionsLine().fault)
	counts.cut += 2
	wantFault(t, "4 requests were cut off", r.connectionsLine().fault)
	if l := r.mostLine(); l.fault != nil {
		t.Error(l.fault)
	}
	counts.overFor = 2 * handOver
	wantFault(t, "more than 6", r.mostLine().fault)
}

func TestRest(t *testing.T) {
	idle := inUse{goroutines: 12, descriptors: 14, names: 1, memory: 10 << 20}
	const slack = 32 << 20
	if over := idle.over(idle, slack); over != "" {
		t.Error(over)
	}
	for want, u := range map[string]inUse{
		"1 goroutines":             {goroutines: 13},
		"2 descriptors":            {descriptors: 16},
		"1 names in the spool":     {names: 2},
		"33 MiB of memory":         {memory: 43 << 20},
		"tecken_publish_waiting 1": {busy: ", tecken_publish_waiting 1"},
	} {
		if over := u.over(idle, slack); over != want {
			t.Errorf("%+v: %q, not %q", u, over, want)
		}
	}
	for _, c := range []struct{ peak, slack int64 }{{0, 12}, {20, 12}, {43, 13}, {60, 20}, {500, 48}} {
		if got := memorySlack(10<<20, c.peak<<20) >> 20; got != c.slack {
			t.Errorf("with a peak of %d MiB the slack is %d, not %d", c.peak, got, c.slack)
		}
	}
	text := "# HELP a b\na 3\nab 4\nb{x=\"}\"} 1\nb{x=\"y z\"} 2.5\n"
	for name, want := range map[string]float64{"a": 3, "b": 3.5} {
		if got, ok := metric(text, name); !ok || got != want {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	if _, ok := metric(text, "c"); ok {
		t.Error("c was found")
	}
}

// TestRestGauges: each of them must be there, and be 0.
func TestRestGauges(t *testing.T) {
	idle := strings.Join(restGauges, " 0\n") + " 0\n"
	if busy, err := busyGauges(idle); busy != "" || err != nil {
		t.Errorf("%q, %v", busy, err)
	}
	for _, name := range restGauges {
		busy, err := busyGauges(strings.Replace(idle, name+" 0\n", name+" 1\n", 1))
		if want := ", " + name + " 1"; busy != want || err != nil {
			t.Errorf("%q, %v, want %q", busy, err, want)
		}
		_, err = busyGauges(strings.Replace(idle, name+" 0\n", "", 1))
		wantFault(t, "there is no metric "+name, err)
	}
}

func TestFigures(t *testing.T) {
	if j := jain([]float64{1, 1, 1, 1}); j != 1 {
		t.Errorf("equal shares: %v", j)
	}
	if j := jain([]float64{4, 0, 0, 0}); j != 0.25 {
		t.Errorf("one has all: %v", j)
	}
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i)*time.Second)
	}
	if got := percentiles(all); got != "51.00 / 96.00 / 100.00 s, longest 100.00, of 100" {
		t.Error(got)
	}
}
