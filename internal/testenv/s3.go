package testenv

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tecken-upload/internal/lab/process"
)

// startTimeout bounds a server's start. It takes 20 to 45 ms on an idle machine.
const startTimeout = Patience

// startPoll is the pause between requests to a starting server.
const startPoll = 5 * time.Millisecond

// s3Domain is the domain of host names with a bucket. No resolver knows it.
const s3Domain = "s3.test"

// An S3Server is a running S3 server with one empty bucket.
type S3Server struct {
	Endpoint       string // http://127.0.0.1:<port>
	Addr           string // 127.0.0.1:<port>
	Domain         string // the bucket's host name is <bucket>.<Domain>
	Bucket         string
	Region         string
	Access, Secret string
	Dir            string // the bucket's directory; with versitygw every object is a file below it
}

// S3 starts the test's own versitygw, which ends with it.
func S3(t testing.TB) S3Server {
	t.Helper()
	program := tool(t, "versitygw")
	return startS3(t, func(s S3Server, top string) *exec.Cmd {
		return exec.Command(program, "--access", s.Access, "--secret", s.Secret, "--region", s.Region,
			"--port", s.Addr, "--virtual-domain", s.Domain, "--keep-alive", "--quiet", "posix", top)
	})
}

// MinIO starts the test's own MinIO, which ends with it.
func MinIO(t testing.TB) S3Server {
	t.Helper()
	program := tool(t, "minio")
	return startS3(t, func(s S3Server, top string) *exec.Cmd {
		cmd := exec.Command(program, "server", "--quiet", "--address", s.Addr, "--certs-dir", t.TempDir(), top)
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.Access, "MINIO_ROOT_PASSWORD="+s.Secret, "MINIO_REGION="+s.Region,
			"MINIO_DOMAIN="+s.Domain, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
		return cmd
	})
}

// tool returns the path of an S3 server.
func tool(t testing.TB, name string) string {
	t.Helper()
	program := filepath.Join(Root(t), ".tools", name)
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath(name); err != nil {
			Missing(t, name+", an S3 server,", "scripts/test installs it")
		}
	}
	return program
}

// startS3 starts a server; its buckets are the directories in top.
func startS3(t testing.TB, command func(s S3Server, top string) *exec.Cmd) S3Server {
	t.Helper()
	top := t.TempDir()
	s := S3Server{
		Domain: s3Domain,
		Bucket: "symbols",
		Region: "us-east-1",
		Access: "test-access",
		Secret: "test-secret",
		Dir:    filepath.Join(top, "symbols"),
	}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Another process may take the port before the server binds it.
	for range 3 {
		s.Addr = freeAddr(t)
		s.Endpoint = "http://" + s.Addr
		cmd := command(s, top)
		err := start(t, s.Endpoint+"/"+s.Bucket, cmd)
		if err == nil {
			return s
		}
		t.Logf("start %s: %v", cmd.Path, err)
	}
	t.Fatal("the S3 server does not start")
	return s
}

// NewBucket makes another empty bucket of the same server.
func (s S3Server) NewBucket(t testing.TB) S3Server {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(s.Dir), "symbols-")
	if err != nil {
		t.Fatal(err)
	}
	s.Dir, s.Bucket = dir, filepath.Base(dir)
	return s
}

// URL returns the TECKEN_STORAGE_URL of the bucket.
func (s S3Server) URL() string { return s.Through(s.Endpoint) }

// Through returns the TECKEN_STORAGE_URL of the bucket behind another endpoint, a proxy's.
func (s S3Server) Through(endpoint string) string {
	query := url.Values{"region": {s.Region}, "endpoint": {endpoint}, "path_style": {"true"}}
	return "s3://" + s.Bucket + "?" + query.Encode()
}

// Environ returns the environment, as "name=value", with the server's credentials for the SDK and without the machine's own configuration.
func (s S3Server) Environ() []string {
	var list []string
	for name, value := range s.environ() {
		list = append(list, name+"="+value)
	}
	return list
}

// Setenv sets this environment for the rest of the test.
func (s S3Server) Setenv(t testing.TB) {
	t.Helper()
	for name, value := range s.environ() {
		t.Setenv(name, value)
	}
}

func (s S3Server) environ() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID":           s.Access,
		"AWS_SECRET_ACCESS_KEY":       s.Secret,
		"AWS_SESSION_TOKEN":           "",
		"AWS_PROFILE":                 "",
		"AWS_CONFIG_FILE":             os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_EC2_METADATA_DISABLED":   "true",
	}
}

// freeAddr returns an unused address of this machine.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a server until the end of the test, and returns once it answers at url, and not that it is only starting.
func start(t testing.TB, url string, cmd *exec.Cmd) error {
	t.Helper()
	p, err := process.Start(cmd)
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.Name(), p.Tail())
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return untilUp(t, p, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode < http.StatusInternalServerError
	})
}

// untilUp waits until a program that was started serves.
func untilUp(t testing.TB, p *process.Process, serves func(context.Context) bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return p.Until(ctx, "start", serves)
}
