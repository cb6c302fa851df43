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

// nginxMain is the configuration around the one under test. Everything it writes is below its prefix; Debian's
// own paths are absolute, and root's.
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

// nginxRunner runs nginx until standard input ends, which it does with the test process if not before: workers
// whose master is killed would stay, and listen.
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
	// AccessLog is a file with a line for each request that has ended: method, path, status, and the addresses of
	// the servers it was passed to, one after the other, separated by ", "; "-" where to none.
	AccessLog string

	program string
}

// Nginx starts an nginx of the test's own, of two workers, which ends with it. config returns what is to stand
// in its http block, with a server that listens to the address it is given, "127.0.0.1:<port>", without TLS. The
// test is skipped where nginx is not installed.
func Nginx(t testing.TB, config func(listen string) string) *NginxServer {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not on everybody's PATH
		if _, err := os.Stat(program); err != nil {
			Missing(t, "nginx", "scripts/test installs Debian's package nginx-light.")
		}
	}
	// Someone else may take the port between our finding it free and the server's binding it.
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

// Configure writes what is to stand in the http block, for [NginxServer.Reload] to read.
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

// Reload makes nginx take its configuration anew: requests in progress end under the old one. It fails, and
// changes nothing, where the configuration has a fault.
func (n *NginxServer) Reload(ctx context.Context) error {
	cmd := n.command(ctx, "-s", "reload")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("reload nginx: %w\n%s", err, out)
	}
	return nil
}

// ReloadCommand returns what "nginx -s reload" is for this nginx, for a shell.
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
	// Its session is its own, so that Ctrl-C reaches the test, and nginx only through it.
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
		_ = cmd.Wait() // it is ended by us
	}()
	t.Cleanup(func() { n.stop(t, stdin, exited) })
	return n.wait(t.Context(), exited)
}

// wait waits for nginx's pid file, which it writes when it has bound its port.
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

// stop ends nginx, and shows its logs where the test has failed.
func (n *NginxServer) stop(t testing.TB, stdin io.Closer, exited <-chan struct{}) {
	_ = stdin.Close() // that it is closed already is as good
	<-exited
	if t.Failed() {
		t.Logf("logs of nginx:\n%s", n.logs())
	}
}

func (n *NginxServer) logs() (text []byte) {
	for _, name := range []string{"said", "error.log", "access.log"} {
		part, _ := os.ReadFile(filepath.Join(n.Dir, name)) // missing where it never came so far
		text = append(text, part...)
	}
	return text
}
