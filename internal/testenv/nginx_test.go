package testenv_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// answering is a configuration that answers everything with a status.
func answering(status int) func(listen string) string {
	return func(listen string) string {
		return fmt.Sprintf("server { listen %s; location / { return %d; } }", listen, status)
	}
}

func TestNginxEndsWithItsTest(t *testing.T) {
	var addr, dir string
	t.Run("running", func(t *testing.T) {
		server := testenv.Nginx(t, answering(http.StatusTeapot))
		addr, dir = strings.TrimPrefix(server.URL, "http://"), server.Dir
		if got := get(t, server.URL+"/some/path"); got != http.StatusTeapot {
			t.Errorf("answered %d; want 418", got)
		}
		waitLogged(t, server, "GET /some/path 418 -\n")
	})
	if addr == "" {
		t.Skip("nginx is missing")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("something still listens")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
}

// waitLogged waits until the access log reads so: nginx writes a line when its answer is sent.
func waitLogged(t *testing.T, server *testenv.NginxServer, want string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); ; <-tick.C {
		log, err := os.ReadFile(server.AccessLog)
		if err == nil && string(log) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("access log %q (%v)", log, err)
		}
	}
}

func TestNginxReloads(t *testing.T) {
	server := testenv.Nginx(t, answering(http.StatusTeapot))
	server.Configure(t, "server { nonsense; }")
	if err := server.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("reloaded with a fault: %v", err)
	}
	if got := get(t, server.URL); got != http.StatusTeapot {
		t.Errorf("then answered %d; want 418", got)
	}
	server.Configure(t, answering(http.StatusGone)(strings.TrimPrefix(server.URL, "http://")))
	if err := server.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); get(t, server.URL) != http.StatusGone; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the new configuration does not count")
		}
	}
	for _, name := range []string{"body", "proxy"} {
		if _, err := os.Stat(filepath.Join(server.Dir, name)); err != nil {
			t.Error(err)
		}
	}
}
