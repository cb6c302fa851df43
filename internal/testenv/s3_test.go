package testenv_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"tecken-upload/internal/testenv"
)

func TestS3EndsWithItsTest(t *testing.T) {
	for name, start := range map[string]func(testing.TB) testenv.S3Server{"versitygw": testenv.S3, "MinIO": testenv.MinIO} {
		var addr string
		t.Run(name, func(t *testing.T) {
			server := start(t)
			addr = server.Addr
			for _, bucket := range []string{server.Bucket, server.NewBucket(t).Bucket} {
				if got := get(t, server.Endpoint+"/"+bucket); got != http.StatusForbidden {
					t.Errorf("an unsigned request is answered %d; want 403", got)
				}
			}
		})
		if addr == "" {
			t.Skipf("%s is missing", name)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s: something still listens", name)
		}
	}
}

func TestToxiproxy(t *testing.T) {
	server := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, server.Addr)
	url := "http://" + proxy.Addr
	if got := get(t, url); got != http.StatusForbidden {
		t.Errorf("through a healthy proxy: %d; want 403", got)
	}
	heal := proxy.Add("limit_data", "downstream", map[string]any{"bytes": 0})
	if got := get(t, url); got != 0 {
		t.Errorf("through a sick proxy: %d; want no answer", got)
	}
	heal()
	if got := get(t, url); got != http.StatusForbidden {
		t.Errorf("through a healed proxy: %d; want 403", got)
	}
	proxy.Cut()
	if got := get(t, url); got != 0 {
		t.Errorf("through a cut proxy: %d; want no answer", got)
	}
}

func TestRefuseS3(t *testing.T) {
	server := testenv.S3(t)
	refuser := testenv.RefuseS3(t, server.Endpoint, 2, http.StatusServiceUnavailable, "SlowDown")
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusForbidden} {
		if got := get(t, refuser.Endpoint); got != want {
			t.Errorf("answer %d is %d; want %d", i, got, want)
		}
	}
	if got := refuser.Requests(); got != 3 {
		t.Errorf("%d requests; want 3", got)
	}
	if got := refuser.Connections(); got != 3 {
		t.Errorf("%d connections; want 3", got)
	}
}

// get returns the status of url's answer; 0 where there is none.
func get(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}
