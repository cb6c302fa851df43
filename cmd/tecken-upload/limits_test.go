package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/redislease"
	"tecken-upload/internal/testenv"
)

// command runs the program with the given environment.
func command(t *testing.T, settings map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		value, ok := settings[name]
		return value, ok
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), args, lookup, &out, &errs)
	return code, out.String(), errs.String()
}

// newTenant makes a token of the given weight in a database of the test's own: it is tenant 1.
func newTenant(t *testing.T, weight string) (settings map[string]string) {
	t.Helper()
	settings = map[string]string{"TECKEN_DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "tecken.db")}
	if code, _, stderr := command(t, settings, "token", "create", "--user=ci@example.com", "--permission=upload_symbols", "--weight="+weight); code != 0 {
		t.Fatal(stderr)
	}
	return settings
}

func takeLease(t *testing.T, k *lease.Keeper, tenant int64) {
	t.Helper()
	if _, err := k.Take(t.Context(), tenant, 100); err != nil {
		t.Fatal(err)
	}
}

// serveLeases starts what stands for a server's metrics listener.
func serveLeases(t *testing.T, k *lease.Keeper) (address string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET /leases", leasesHandler(k, 5))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestLimitsOfAServer(t *testing.T) {
	settings := newTenant(t, "3")
	k := lease.NewKeeper(lease.Options{Instance: "host-1"})
	settings["TECKEN_METRICS_LISTEN"] = serveLeases(t, k)
	code, stdout, stderr := command(t, settings, "limits")
	if code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "TECKEN_REDIS_URL is not set") {
		t.Errorf("of nothing: %d\n%s%s", code, stdout, stderr)
	}
	takeLease(t, k, 1)
	takeLease(t, k, 1)
	takeLease(t, k, 7)
	code, stdout, stderr = command(t, settings, "limits")
	want := regexp.MustCompile(`^TENANT +USER +HELD +LIMIT +INSTANCE +SINCE +RENEWED
(1 +ci@example.com +2 +15 +host-1 +[^ ]+Z +[^ ]+Z
){2}7 +- +1 +- +host-1 +[^ ]+Z +[^ ]+Z
$`)
	if code != 0 || !want.MatchString(stdout) {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
}

func TestLimitsOfAFleet(t *testing.T) {
	settings := newTenant(t, "1")
	server := testenv.Redis(t)
	settings["TECKEN_REDIS_URL"], settings["TECKEN_TENANT_UPLOADS"] = server.URL(), "5"
	table, err := redislease.Open(server.URL(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for _, instance := range []string{"a", "b"} {
		takeLease(t, lease.NewKeeper(lease.Options{Shared: table, Instance: instance}), 1)
	}
	code, stdout, stderr := command(t, settings, "limits", "--json")
	if code != 0 || stderr != "" {
		t.Fatalf("%d\n%s", code, stderr)
	}
	var got tenantLimit
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	want := tenantLimit{Tenant: 1, User: "ci@example.com", Held: 2, Limit: 5, Leases: []lease.Lease{{Tenant: 1, Instance: "a"}, {Tenant: 1, Instance: "b"}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(lease.Lease{}, "ID", "Since", "Renewed"),
		cmpopts.SortSlices(func(a, b lease.Lease) bool { return a.Instance < b.Instance })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	server.Kill()
	if code, _, stderr := command(t, settings, "limits"); code != 1 || !strings.Contains(stderr, "ask Redis: ") {
		t.Errorf("without Redis: %d %s", code, stderr)
	}
}

func TestLimitsWithoutRecords(t *testing.T) {
	k := lease.NewKeeper(lease.Options{Instance: "host-1"})
	takeLease(t, k, 1)
	path := filepath.Join(t.TempDir(), "none", "tecken.db")
	settings := map[string]string{"TECKEN_DATABASE_URL": "sqlite:" + path, "TECKEN_METRICS_LISTEN": serveLeases(t, k)}
	for _, url := range []string{"sqlite:" + path, "postgres://127.0.0.1:1/none"} {
		settings["TECKEN_DATABASE_URL"] = url
		code, stdout, stderr := command(t, settings, "limits")
		if code != 0 || !regexp.MustCompile(`\n1 +- +1 +- +host-1 `).MatchString(stdout) || !strings.Contains(stderr, "Users and limits are unknown: ") {
			t.Errorf("%s: %d\n%s%s", url, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("a database was made")
	}
}

func TestLimitsCanNotBeTold(t *testing.T) {
	wrong := httptest.NewServer(http.NotFoundHandler())
	defer wrong.Close()
	nonsense := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer nonsense.Close()
	for name, tt := range map[string]struct {
		settings map[string]string
		code     int
		want     string
	}{
		"nobody listens": {map[string]string{"TECKEN_METRICS_LISTEN": ":1"}, 1, "connection refused"},
		"port 0":         {map[string]string{"TECKEN_METRICS_LISTEN": "127.0.0.1:0"}, 1, "which is no address of a server"},
		"no port":        {map[string]string{"TECKEN_METRICS_LISTEN": "localhost"}, 1, "which is no address of a server"},
		"another server": {map[string]string{"TECKEN_METRICS_LISTEN": wrong.Listener.Addr().String()}, 1, "answers 404 Not Found"},
		"not JSON":       {map[string]string{"TECKEN_METRICS_LISTEN": nonsense.Listener.Addr().String()}, 1, "read the answer"},
		"Redis down":     {map[string]string{"TECKEN_REDIS_URL": "redis://127.0.0.1:1"}, 1, "ask Redis"},
		"no Redis URL":   {map[string]string{"TECKEN_REDIS_URL": "http://user:hunter2@host"}, 2, "TECKEN_REDIS_URL: must begin with"},
		"odd Redis URL":  {map[string]string{"TECKEN_REDIS_URL": "redis://user:hunter2@host/db"}, 1, "TECKEN_REDIS_URL: open"},
	} {
		code, stdout, stderr := command(t, tt.settings, "limits")
		if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: %d %s%s", name, code, stdout, stderr)
		}
	}
}
