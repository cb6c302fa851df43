package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// nginxMain is the configuration around the one under test. It writes only below its prefix; Debian's own paths are absolute, and root's.
const nginxMain = `%[2]s
daemon off;
worker_processes 2;
pid pid;
lock_file lock;
error_log error.log notice;
events {}
http {
    log_format upstreams '$request_method $uri $status $upstream_addr';
    access_log access.log upstreams;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%[1]s
}
`

// nginxRunner runs nginx until standard input ends, at the latest with the test process: workers outlive a killed master, and listen.
const nginxRunner = `exec 3<&0
"$@" 3<&- &
pid=$!
{ cat <&3 >/dev/null; kill -TERM "$pid" 2>/dev/null; } &
exec 3<&-
wait "$pid"`

// An NginxServer is a running nginx.
type NginxServer struct {
	URL string // http://127.0.0.1:<port>
	Dir string // its prefix
	// AccessLog is a file with a line for each ended request: method, path, status, and the addresses of the servers it was passed to, in
	// order, separated by ", "; "-" for none.
	AccessLog string

	program string
}

// Nginx starts the test's own nginx with two workers. config returns the content of its http block, with a server that listens to the given
// address, "127.0.0.1:<port>", without TLS. The test is skipped if nginx is not installed.
func Nginx(t testing.TB, config func(listen string) string) *NginxServer {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not on everybody's PATH
		if _, err := os.Stat(program); err != nil {
			Missing(t, "nginx", "scripts/test installs Debian's package nginx-light.")
		}
	}
	// Another process may take the port before nginx binds it.
	for range 3 {
		addr := freeAddr(t)
		dir := t.TempDir()
		n := &NginxServer{URL: "http://" + addr, Dir: dir, AccessLog: filepath.Join(dir, "access.log"), program: program}
		n.Configure(t, config(addr))
		if err = n.start(t); err == nil {
			return n
		}
		t.Logf("start nginx: %v", err)
	}
	t.Fatal("nginx does not start")
	return nil
}

// Configure writes the content of the http block, for [NginxServer.Reload].
func (n *NginxServer) Configure(t testing.TB, config string) {
	t.Helper()
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;" // or its workers could not enter the folders of tests
	}
	text := fmt.Sprintf(nginxMain, config, user)
	if err := os.WriteFile(filepath.Join(n.Dir, "nginx.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Reload makes nginx read its configuration again: requests in progress end under the old one. For a faulty configuration it fails and
// changes nothing.
func (n *NginxServer) Reload(ctx context.Context) error {
	cmd := n.command(ctx, "-s", "reload")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("reload nginx: %w\n%s", err, out)
	}
	return nil
}

// ReloadCommand is "nginx -s reload" for this nginx, for a shell.
func (n *NginxServer) ReloadCommand() string {
	return fmt.Sprintf("'%s' -p '%s' -c nginx.conf -e error.log -s reload", n.program, n.Dir)
}

func (n *NginxServer) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"-p", n.Dir, "-c", "nginx.conf", "-e", "error.log"}, args...)
	cmd := exec.CommandContext(ctx, n.program, args...)
	cmd.Dir = n.Dir
	return cmd
}

// start returns once nginx listens.
func (n *NginxServer) start(t testing.TB) error {
	t.Helper()
	said, err := os.Create(filepath.Join(n.Dir, "said"))
	if err != nil {
		return err
	}
	defer said.Close()
	nginx := n.command(context.Background())
	cmd := exec.Command("/bin/sh", append([]string{"-c", nginxRunner, "runner"}, nginx.Args...)...)
	// A session of its own: Ctrl-C reaches the test, and nginx only through it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.Dir, said, said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // we end it
	}()
	t.Cleanup(func() { n.stop(t, stdin, exited) })
	return n.wait(t.Context(), exited)
}

// wait waits for the pid file, which nginx writes once it has bound its port.
func (n *NginxServer) wait(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("it does not start"))
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		if info, err := os.Stat(filepath.Join(n.Dir, "pid")); err == nil && info.Size() > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-exited:
			return fmt.Errorf("it exited:\n%s", n.logs())
		case <-ctx.Done():
			return fmt.Errorf("%w:\n%s", context.Cause(ctx), n.logs())
		}
	}
}

// stop ends nginx, and shows its logs if the test has failed.
func (n *NginxServer) stop(t testing.TB, stdin io.Closer, exited <-chan struct{}) {
	_ = stdin.Close() // perhaps closed already
	<-exited
	if t.Failed() {
		t.Logf("logs of nginx:\n%s", n.logs())
	}
}

func (n *NginxServer) logs() (text []byte) {
	for _, name := range []string{"said", "error.log", "access.log"} {
		part, _ := os.ReadFile(filepath.Join(n.Dir, name)) // missing if it never got that far
		text = append(text, part...)
	}
	return text
}
