package symbols

import (
	"net/http"
	"testing"
)

func TestAcceptsGzip(t *testing.T) {
	for field, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "x-gzip": true, "deflate, gzip, br": true, "deflate,gzip;q=0.5": true,
		"br": false, "identity": false, "*": true, "*;q=0": false, "gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=0, *": false,
		"*;q=0, gzip;q=0.1": true, "identity, gzip;q=0.5": false, "identity;q=0.5, gzip;q=0.5": true, "identity;q=0.5, *": true,
		"gzip;level=9;q=1": true, "gzip;q=2": false, "gzip;q=-1": false, "gzip;q=NaN": false, "gzip;q=x": false, "gzip;q=": false, ",;,=": false,
		" gzip ; Q=0.3 ": true, "gzipped": false,
	} {
		h := http.Header{"Accept-Encoding": {field}}
		if field == "" {
			h = http.Header{}
		}
		if got := acceptsGzip(h); got != want {
			t.Errorf("%q: %t, want %t", field, got, want)
		}
	}
	if !acceptsGzip(http.Header{"Accept-Encoding": {"br", "gzip"}}) {
		t.Error("a second field is overlooked")
	}
}
