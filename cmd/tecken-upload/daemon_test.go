package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// patience bounds every wait of these tests.
const patience = testenv.Patience

// programsDir is where the programs are, once built.
var programsDir string

// programs builds the real programs, once for each test binary.
var programs = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("", "tecken-programs-")
	if err != nil {
		return "", err
	}
	programsDir = dir
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "../../cmd/tecken-upload", "../../cmd/disk-manager")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w\n%s", err, output)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(programsDir)
	os.Exit(code)
}

func program(t testing.TB, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// daemon is a running tecken-upload in a directory of its own.
type daemon struct {
	*testing.T
	cmd          *exec.Cmd
	dir          string // the working directory; everything embedded is under data in it
	url, metrics string
	token        string
	hangsUp      bool // every upload is posted on a connection of its own, as command lines do
	exited       chan error
	stderr       io.Closer // the reader of its log

	mu   sync.Mutex
	log  []map[string]any
	news *sync.Cond // a line was logged, or the process has ended
	over bool
}

// environ is what the real environment of a process under test is cut down to, and what is set besides.
func environ(settings map[string]string) []string {
	all := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"),
		"TECKEN_LISTEN": "127.0.0.1:0", "TECKEN_METRICS_LISTEN": "127.0.0.1:0", "TECKEN_SHUTDOWN_DELAY": "0s",
		// Bodies that tests hold back are no slow ones.
		"TECKEN_RECEIVE_STALL_TIMEOUT": patience.String(), "TECKEN_RECEIVE_MIN_RATE": "0B/s",
	}
	maps.Copy(all, settings)
	var list []string
	for name, value := range all {
		list = append(list, name+"="+value)
	}
	return list
}

// withS3 adds an S3 server's address and credentials to settings.
func withS3(s3 testenv.S3Server, endpoint string, settings map[string]string) map[string]string {
	all := map[string]string{"TECKEN_STORAGE_URL": s3.Through(endpoint)}
	for _, pair := range s3.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	maps.Copy(all, settings)
	return all
}

// startDaemon starts the real program and waits until it listens. Its token is made first, unless the
// settings name a database other than the embedded one.
func startDaemon(t *testing.T, settings map[string]string) *daemon {
	t.Helper()
	d := &daemon{T: t, dir: t.TempDir()}
	if settings["TECKEN_DATABASE_URL"] == "" {
		d.token = d.makeToken(settings)
	}
	d.start(settings)
	return d
}

// again starts the program once more where it ran before.
func (d *daemon) again(settings map[string]string) *daemon {
	d.Helper()
	next := &daemon{T: d.T, dir: d.dir, token: d.token}
	next.start(settings)
	return next
}

func (d *daemon) start(settings map[string]string) {
	t := d.T
	t.Helper()
	d.exited = make(chan error, 1)
	d.news = sync.NewCond(&d.mu)
	d.cmd = exec.Command(program(t, "tecken-upload"))
	d.cmd.Dir, d.cmd.Env = d.dir, environ(settings)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.stderr = stderr
	go d.follow(stderr)
	t.Cleanup(d.kill)
	line := d.waitLog("serving")
	d.url, d.metrics = fmt.Sprintf("http://%s", line["address"]), fmt.Sprintf("http://%s/metrics", line["metrics"])
	if d.token != "" {
		d.waitDatabase()
	}
}

// waitDatabase waits until the schema is migrated: until then uploads are refused.
func (d *daemon) waitDatabase() {
	d.Helper()
	d.eventually("the database is ready", func() bool {
		_, body := d.heartbeat("/__heartbeat__")
		return body.Checks["database"] == "ok"
	})
}

// makeToken runs "token create" as an operator does.
func (d *daemon) makeToken(settings map[string]string) string {
	d.Helper()
	cmd := exec.CommandContext(d.Context(), program(d, "tecken-upload"), "token", "create",
		"--user", "ci@example.com", "--permission", "upload_symbols")
	cmd.Dir, cmd.Env = d.dir, environ(settings)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.Fatalf("token create: %v\n%s", err, &stderr)
	}
	token := strings.TrimSuffix(string(out), "\n")
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) {
		d.Fatalf("token create printed %q", out)
	}
	return token
}

// follow reads the log until the process ends, and then its exit status.
func (d *daemon) follow(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			line = map[string]any{"msg": lines.Text()}
		}
		d.mu.Lock()
		d.log = append(d.log, line)
		d.news.Broadcast()
		d.mu.Unlock()
	}
	d.exited <- d.cmd.Wait()
	d.mu.Lock()
	d.over = true
	d.news.Broadcast()
	d.mu.Unlock()
}

// waitLog returns the first log line with that message.
func (d *daemon) waitLog(msg string) map[string]any {
	d.Helper()
	late := time.AfterFunc(patience, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.over = true
		d.news.Broadcast()
	})
	defer late.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for _, line := range d.log {
			if line["msg"] == msg {
				return line
			}
		}
		if d.over {
			d.Fatalf("no line %q in the log:\n%v", msg, d.log)
		}
		d.news.Wait()
	}
}

// kill ends the process if need be.
func (d *daemon) kill() {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	if !over {
		err := errors.Join(d.cmd.Process.Kill(), <-d.exited)
		d.Logf("killed: %v", err)
	}
	if d.Failed() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, line := range d.log {
			d.Log(line)
		}
	}
}

func (d *daemon) signal(s os.Signal) {
	d.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.Fatal(err)
	}
}

// exit waits for the end of the process and returns its exit status.
func (d *daemon) exit() int {
	d.Helper()
	select {
	case err := <-d.exited:
		d.exited <- nil // for kill
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		if err != nil {
			d.Fatal(err)
		}
		return 0
	case <-time.After(patience):
		d.Fatal("the process does not end")
		return -1
	}
}

// heartbeat returns the answer of one of the heartbeats; status 0 where nobody answers.
func (d *daemon) heartbeat(path string) (status int, body struct {
	Status string
	Checks map[string]string
}) {
	d.Helper()
	resp, err := http.Get(d.url + path)
	if err != nil {
		return 0, body
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		d.Errorf("%s: %v", path, err)
	}
	return resp.StatusCode, body
}

// reply is the answer to an upload.
type reply struct {
	status     int
	retryAfter string
	closes     bool // the server closes the connection behind it
	err        string
	upload     struct {
		ID                        int64
		SkippedKeys, UploadedKeys []string
	}
}

// post streams an archive that write makes to the server.
func (d *daemon) post(ctx context.Context, write func(io.Writer) error) (reply, error) {
	body, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		part, err := form.CreateFormFile("symbols.zip", "symbols.zip")
		if err == nil {
			err = write(part)
		}
		w.CloseWithError(errors.Join(err, form.Close()))
	}()
	defer body.Close()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/upload/", body)
	if err != nil {
		return reply{}, err
	}
	r.Close = d.hangsUp
	r.Header.Set("Auth-Token", d.token)
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error  string
		Upload struct {
			ID           int64
			SkippedKeys  []string `json:"skipped_keys"`
			UploadedKeys []string `json:"uploaded_keys"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return reply{}, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	out := reply{status: resp.StatusCode, closes: resp.Close, retryAfter: resp.Header.Get("Retry-After"), err: answer.Error}
	out.upload.ID, out.upload.SkippedKeys, out.upload.UploadedKeys = answer.Upload.ID, answer.Upload.SkippedKeys, answer.Upload.UploadedKeys
	return out, nil
}

// mustPost is post for uploads that are answered.
func (d *daemon) mustPost(write func(io.Writer) error) reply {
	d.Helper()
	r, err := d.post(d.Context(), write)
	if err != nil {
		d.Fatal(err)
	}
	return r
}

// text returns the body of an answer, whatever its status.
func (d *daemon) text(url string) string {
	d.Helper()
	resp, err := http.Get(url)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

// metric returns the value of an unlabelled metric.
func (d *daemon) metric(name string) float64 {
	d.Helper()
	return d.metricAt(d.metrics, name)
}

func (d *daemon) metricAt(url, name string) float64 {
	d.Helper()
	for line := range strings.Lines(d.text(url)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				d.Fatal(err)
			}
			return f
		}
	}
	d.Fatalf("no metric %s", name)
	return 0
}

// spoolEntries lists what is in the spool besides its mark.
func (d *daemon) spoolEntries() []string {
	d.Helper()
	entries, err := os.ReadDir(filepath.Join(d.dir, "data", "spool"))
	if err != nil {
		d.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ".tecken-spool" {
			names = append(names, e.Name())
		}
	}
	return names
}

// eventually waits until a condition holds.
func (d *daemon) eventually(what string, holds func() bool) {
	d.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if holds() {
			return
		}
	}
	d.Fatalf("waited in vain until %s", what)
}
