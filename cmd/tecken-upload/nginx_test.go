package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// deployed returns a file of deploy.
func deployed(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaced replaces texts that must be there, given in pairs.
func replaced(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("there is no %q in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// deployedNginx is deploy/nginx.conf in front of these two instances, without TLS.
func deployedNginx(t *testing.T, first, second string) func(listen string) string {
	t.Helper()
	return func(listen string) string {
		text := regexp.MustCompile(`(?m)^ *ssl_.*\n`).ReplaceAllString(deployed(t, "nginx.conf"), "")
		return replaced(t, text, "10.0.0.11:8000", first, "10.0.0.12:8000", second, "listen 443 ssl;", "listen "+listen+";")
	}
}

// access is a line of nginx's access log.
type access struct {
	method, path, status, upstreams string
}

func (f *fleet) accessLog() (lines []access) {
	f.Helper()
	text, err := os.ReadFile(f.nginx.AccessLog)
	if err != nil {
		f.Fatal(err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		fields := strings.SplitN(scan.Text(), " ", 4)
		if len(fields) != 4 {
			f.Fatalf("access log: %q", scan.Text())
		}
		lines = append(lines, access{fields[0], fields[1], fields[2], fields[3]})
	}
	return lines
}

// nobodysAddress is one that refuses connections, for as long as the test runs.
func nobodysAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	// Bound, so that no other program gets it, and not listened to.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to %v", name)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(in.Port))
}

// A connection that is refused costs a client nothing: the upload goes to the other instance.
func TestNginxPassesARefusedConnectionOn(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, nil)
	dead := nobodysAddress(t)
	nginx := testenv.Nginx(t, deployedNginx(t, dead, d.Address))
	f := &fleet{TB: t, nginx: nginx}
	as := &daemon{Site: d.Site, Instance: &lab.Instance{Address: strings.TrimPrefix(nginx.URL, "http://")}, token: d.token}
	content := makeArchive(t, testarchive.Spec{Seed: 1})
	for range 4 {
		as.expectPost(content, http.StatusCreated)
	}
	passed := 0
	for _, line := range f.accessLog() {
		if line.upstreams == dead+", "+d.Address {
			passed++
		}
	}
	if passed == 0 {
		t.Errorf("none was passed on: %v", f.accessLog())
	}
}

// heartbeatScript is deploy/nginx-heartbeats for this nginx.
func (f *fleet) heartbeatScript() string {
	f.Helper()
	return replaced(f, deployed(f, "nginx-heartbeats"), "/etc/nginx/conf.d/tecken.conf", filepath.Join(f.nginx.Dir, "nginx.conf"),
		"nginx -s reload", f.nginx.ReloadCommand())
}

func (f *fleet) shell(script string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script).CombinedOutput(); err != nil {
		f.Fatalf("%v\n%s", err, out)
	}
}

// That script takes an instance out while its heartbeat is red, and puts it back.
func TestNginxIsToldOfRedHeartbeats(t *testing.T) {
	t.Parallel()
	first := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": "10m"})
	second := startDaemon(t, nil)
	nginx := testenv.Nginx(t, deployedNginx(t, first.Address, second.Address))
	f := &fleet{TB: t, nginx: nginx}
	script := f.heartbeatScript()
	look := func() string {
		t.Helper()
		f.shell(script)
		text, err := os.ReadFile(filepath.Join(nginx.Dir, "nginx.conf"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := look(); strings.Contains(text, " down;") {
		t.Errorf("an instance is down while both are green:\n%s", text)
	}
	first.signal(syscall.SIGTERM)
	first.eventually("its heartbeat is red", func() bool {
		status, _ := first.heartbeat("/__lbheartbeat__")
		return status == http.StatusServiceUnavailable
	})
	out := first.Address + " max_fails=3 fail_timeout=10s down;"
	if text := look(); strings.Count(text, " down;") != 1 || !strings.Contains(text, out) {
		t.Errorf("the instance that drains is not down:\n%s", text)
	}
	// The reload takes a moment. GETs go to whichever instance counts.
	second.eventually("nginx asks the other one alone", func() bool {
		for range 8 {
			resp, err := http.Get(nginx.URL + "/__lbheartbeat__")
			if err != nil {
				return false
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
	second.kill()
	if text := look(); strings.Count(text, " down;") != 1 {
		t.Errorf("with none left it was to change nothing:\n%s", text)
	}
}
