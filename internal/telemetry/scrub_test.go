package telemetry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"
)

func TestScrub(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", ""},
		{"nothing to hide: signature and credential are words", "nothing to hide: signature and credential are words"},
		{"SignatureDoesNotMatch: the signature does not match", "SignatureDoesNotMatch: the signature does not match"},
		{"zip: bad signature: 0x04034b51", "zip: bad signature: 0x04034b51"},
		{"Get \"http://s3/b/k?X-Amz-Algorithm=A&X-Amz-Credential=AK%2F2026%2Fs3&X-Amz-Date=D&X-Amz-Signature=0a1b\": EOF",
			"Get \"http://s3/b/k?X-Amz-Algorithm=A&X-Amz-Credential=REDACTED&X-Amz-Date=D&X-Amz-Signature=REDACTED\": EOF"},
		{"?X-Amz-Security-Token=IQo%2FJb3%3D&x=y", "?X-Amz-Security-Token=REDACTED&x=y"},
		{"?next=http%3A%2F%2Fs3%3FX-Amz-Signature%3D0a1b&x=y", "?next=http%3A%2F%2Fs3%3FX-Amz-Signature%3DREDACTED&x=y"},
		{"x-amz-signature: 0a1b", "x-amz-signature: REDACTED"},
		{`{"X-Amz-Signature":["0a1b"]}`, `{"X-Amz-Signature":["REDACTED"]}`},
		{"Authorization: AWS4-HMAC-SHA256 Credential=AK/2026/s3, SignedHeaders=host, Signature=0a1b",
			"Authorization: REDACTED Credential=REDACTED, SignedHeaders=host, Signature=REDACTED"},
		{"Authorization: Bearer 0a1b", "Authorization: REDACTED"},
		{"Auth-Token: 0a1b-ci", "Auth-Token: REDACTED"},
		{"auth-token:0a1b\nHost: h", "auth-token:REDACTED\nHost: h"},
		{`{"Auth-Token":["0a1b"],"Host":"h"}`, `{"Auth-Token":["REDACTED"],"Host":"h"}`},
		{"map[Auth-Token:[0a1b] Host:[h]]", "map[Auth-Token:[REDACTED] Host:[h]]"},
		{"dial postgres://tecken:hunter2@db:5432/tecken: refused", "dial postgres://tecken:REDACTED@db:5432/tecken: refused"},
		{"postgres://tecken:p@ss@db/tecken", "postgres://tecken:REDACTED@db/tecken"},
		{"redis://:hunter2@cache:6379/0", "redis://:REDACTED@cache:6379/0"},
		{"host=db password=hunter2 user=u", "host=db password=REDACTED user=u"},
		{"password='hunter 2' user=u", "password=REDACTED user=u"},
		{"http://127.0.0.1:7070/bucket?x=a@b", "http://127.0.0.1:7070/bucket?x=a@b"},
		{"https://key@o1.ingest.sentry.io/42", "https://key@o1.ingest.sentry.io/42"},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, scrub(tt.text)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(tt.want, scrub(scrub(tt.text))); diff != "" {
			t.Errorf("scrubbed twice: %s", diff)
		}
	}
}

func TestScrubCuts(t *testing.T) {
	got := scrub(strings.Repeat("é", maxText))
	if len(got) > maxText+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
	}
	cut := scrub(strings.Repeat("x", maxText-20) + "?X-Amz-Signature=hunter2hunter2")
	if strings.Contains(cut, "hun") {
		t.Errorf("…%s", cut[maxText-30:])
	}
}

func TestScrubEventCoversEveryField(t *testing.T) {
	const text = "GET /?X-Amz-Signature=hunter2"
	event := &sentry.Event{
		Message:     text,
		Transaction: text,
		Exception:   []sentry.Exception{{Type: text, Value: text}},
		Breadcrumbs: []*sentry.Breadcrumb{{Message: text, Data: map[string]any{"url": text, "Auth-Token": "hunter2"}}},
		Contexts: map[string]sentry.Context{"facts": {
			"err": errors.New(text), "token": "hunter2", "number": 1,
			"map":  map[string]any{"a": []any{text, map[string]string{"b": text, "cookie": "hunter2"}}},
			"list": []string{text},
		}},
		Tags: map[string]string{"url": text},
		User: sentry.User{Data: map[string]string{"url": text}},
		Request: &sentry.Request{
			URL: text, QueryString: "X-Amz-Signature=hunter2", Data: "hunter2", Cookies: "a=hunter2",
			Headers: map[string]string{"Auth-Token": "hunter2", "Referer": text},
			Env:     map[string]string{"DATABASE_URL": "postgres://u:hunter2@h/d"},
		},
	}
	wire, err := json.Marshal(scrubEvent(event, nil))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(wire), "hunter2") {
		t.Errorf("%s", wire)
	}
	if n := strings.Count(string(wire), redacted); n < 14 {
		t.Errorf("only %d texts were scrubbed: %s", n, wire)
	}
}
