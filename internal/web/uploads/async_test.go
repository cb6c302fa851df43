package uploads

import (
	"net/http"
	"testing"
)

func TestPrefersAsync(t *testing.T) {
	for name, tt := range map[string]struct {
		lines []string
		want  bool
	}{
		"alone":                {[]string{"respond-async"}, true},
		"in any case":          {[]string{"Respond-ASYNC"}, true},
		"with a parameter":     {[]string{`respond-async; foo="a, b" `}, true},
		"with an empty value":  {[]string{`respond-async=""`, `x`}, true},
		"among others":         {[]string{`return=minimal , respond-async,wait=10`}, true},
		"on another line":      {[]string{"handling=lenient", "wait=5, respond-async"}, true},
		"behind a quoted one":  {[]string{`foo="a\", \\", respond-async`}, true},
		"missing":              {nil, false},
		"empty":                {[]string{"", " , ,"}, false},
		"another":              {[]string{"respond-sync", "respond-async-later", "x respond-async"}, false},
		"with another meaning": {[]string{"respond-async=no"}, false},
		"inside of quotes":     {[]string{`foo="x, respond-async, y"`, `foo="x\", respond-async`}, false},
		"as a parameter":       {[]string{"foo; respond-async"}, false},
	} {
		if got := prefersAsync(http.Header{"Prefer": tt.lines}); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
