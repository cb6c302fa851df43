package telemetry

import (
	"log/slog"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getsentry/sentry-go"
)

const (
	// maxText bounds a text: Sentry's own limit, and more than a log line needs.
	maxText  = 8 << 10
	redacted = "REDACTED" // as a value, the patterns replace it by itself
)

// A secret is a pattern. Of a match the first group is kept and the remainder replaced.
//
// The patterns are read-only after they are made. hint is a lower-case part of every match, so that most texts pass after a few substring
// searches.
type secret struct {
	hint    string
	pattern *regexp.Regexp
}

var secrets = []secret{
	// A presigned URL's parameters, plain or escaped again inside another URL, and the same names in an Authorization header or a dump of
	// headers.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
	{"signature", regexp.MustCompile(`(?i)((?:X-Amz-Signature"?(?:=|%3D|\s*:\s*)|\bSignature=)"?\[?"?)[^&\s"',;:<>\]]+`)},
	{"credential", regexp.MustCompile(`(?i)((?:X-Amz-Credential"?(?:=|%3D|\s*:\s*)|\bCredential=)"?\[?"?)[^&\s"',;:<>\]]+`)},
	{"security-token", regexp.MustCompile(`(?i)(X-Amz-Security-Token"?(?:=|%3D|\s*:\s*)"?\[?"?)[^&\s"',;:<>\]]+`)},
	// Headers that authenticate, as text, as JSON, and as Go prints a map of them.
	{"auth-token", regexp.MustCompile(`(?i)(Auth-Token"?(?:=|%3D|\s*:\s*)"?\[?"?)[^&\s"',;<>\]]+`)},
	{"authorization", regexp.MustCompile(`(?i)(Authorization"?(?:=|\s*:\s*)"?\[?"?)(?:(?:Basic|Bearer|Token)\s+)?[^\s"\]]+`)},
	// The password in a URL, even with a raw @ in it.
	{"://", regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^/\s:@"']*:)[^/\s"']*(@)`)},
	{"password", regexp.MustCompile(`(?i)(\bpassword"?(?:=|%3D|\s*:\s*)"?)(?:'[^']*'|[^&\s"',;]+)`)},
}

// scrub returns text without secrets, cut at maxText bytes.
func scrub(text string) string {
	if len(text) > maxText {
		text = clip(text, maxText) + "…"
	}
	lower := strings.ToLower(text)
	for _, s := range secrets {
		if strings.Contains(lower, s.hint) {
			text = s.pattern.ReplaceAllString(text, "${1}"+redacted+"${2}")
		}
	}
	return text
}

// secretKey reports whether values under this key are secret.
func secretKey(key string) bool {
	switch strings.ToLower(key) {
	case "auth-token", "authorization", "cookie", "set-cookie", "token", "password",
		"x-amz-signature", "x-amz-credential", "x-amz-security-token":
		return true
	}
	return false
}

// plain turns a fact's value into JSON types: numbers, booleans, scrubbed texts and maps of them.
func plain(key string, value slog.Value) any {
	if secretKey(key) {
		return redacted
	}
	switch v := value.Resolve(); v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		return finite(v.Float64())
	case slog.KindDuration:
		return v.Duration().Seconds()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindGroup:
		group := make(map[string]any, len(v.Group()))
		for _, a := range v.Group() {
			group[a.Key] = plain(a.Key, a.Value)
		}
		return group
	default:
		return scrub(v.String())
	}
}

// finite replaces what JSON has no number for.
func finite(f float64) any {
	if f-f != 0 {
		return slog.Float64Value(f).String()
	}
	return f
}

// scrubEvent is the last step before an event is queued. It covers every field that can hold text, used by this package or not.
func scrubEvent(event *sentry.Event, _ *sentry.EventHint) *sentry.Event {
	event.Message = scrub(event.Message)
	event.Transaction = scrub(event.Transaction)
	for i := range event.Exception {
		event.Exception[i].Type = scrub(event.Exception[i].Type)
		event.Exception[i].Value = scrub(event.Exception[i].Value)
	}
	for _, b := range event.Breadcrumbs {
		b.Message = scrub(b.Message)
		scrubMap(b.Data)
	}
	for _, c := range event.Contexts {
		scrubMap(c)
	}
	scrubStrings(event.Tags)
	scrubStrings(event.User.Data)
	if r := event.Request; r != nil {
		event.Request = &sentry.Request{
			URL: scrub(r.URL), Method: r.Method, QueryString: scrub(r.QueryString), Headers: r.Headers, Env: r.Env,
		}
		scrubStrings(r.Headers)
		scrubStrings(r.Env)
	}
	return event
}

func scrubStrings(m map[string]string) {
	for key, value := range m {
		if secretKey(key) {
			m[key] = redacted
			continue
		}
		m[key] = scrub(value)
	}
}

func scrubMap(m map[string]any) {
	for key, value := range m {
		m[key] = scrubAny(key, value)
	}
}

func scrubAny(key string, value any) any {
	if secretKey(key) {
		return redacted
	}
	switch v := value.(type) {
	case string:
		return scrub(v)
	case error:
		return scrub(v.Error())
	case map[string]any:
		scrubMap(v)
	case map[string]string:
		scrubStrings(v)
	case []string:
		for i := range v {
			v[i] = scrub(v[i])
		}
	case []any:
		for i := range v {
			v[i] = scrubAny("", v[i])
		}
	}
	return value
}

// clip cuts text at n bytes, between runes.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
