package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// verify runs the real program's verify as an operator does, beside the server.
func (d *daemon) verify(args ...string) (code int, stdout, stderr string) {
	d.Helper()
	cmd := d.Command("tecken-upload", append([]string{"verify"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// digest downloads a file and returns the MD5 of what arrived, inflated.
func (d *daemon) digest(name string) (sum string, err error) {
	d.Helper()
	status, content, err := lab.Get(d.Context(), d.URL("/"+name))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	digest := md5.Sum(content)
	return hex.EncodeToString(digest[:]), err
}

// A stored file that is broken is found, moved out of the way, and stored anew by the next upload that holds it, with the
// server running all the while.
func TestBrokenFilesAreStoredAnew(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"directory", "S3"} {
		t.Run(kind, func(t *testing.T) {
			site := newSite(t, nil)
			objects := filepath.Join(site.Dir, "data", "symbols")
			if kind == "S3" {
				s3 := testenv.S3(t)
				site.UseS3(s3)
				objects = s3.Dir
			}
			d := serveOn(site)
			content := makeArchive(t, testarchive.Spec{Seed: 11, Members: 20})
			d.expectPost(content, http.StatusCreated)
			if code, stdout, stderr := d.verify(); code != 0 || stdout != "" || !strings.HasPrefix(stderr, "20 files verified, ") {
				t.Errorf("all is well: %d\n%s%s", code, stdout, stderr)
			}

			i := slices.IndexFunc(content.Members, func(m testarchive.Member) bool { return strings.HasSuffix(m.Name, ".sym") })
			member := content.Members[i]
			spoil(t, filepath.Join(objects, "v1", member.Name))
			if sum, err := d.digest(member.Name); err == nil && sum == member.MD5 {
				t.Fatal("the file is not broken")
			}
			code, stdout, stderr := d.verify()
			if want := "v1/" + member.Name + "\tbroken\tit can't be inflated: "; code != 1 || !strings.HasPrefix(stdout, want) || !strings.Contains(stderr, "1 broken files are left") {
				t.Errorf("verify: %d\n%s%s", code, stdout, stderr)
			}
			code, stdout, stderr = d.verify("--repair", "--prefix", member.Name[:5])
			if want := "v1/" + member.Name + "\tmoved\t"; code != 0 || !strings.HasPrefix(stdout, want) || !strings.Contains(stderr, "1 broken (1 moved)") {
				t.Errorf("repair: %d\n%s%s", code, stdout, stderr)
			}
			if _, err := os.Stat(filepath.Join(objects, "broken", "v1", member.Name)); err != nil {
				t.Error(err)
			}
			if sum, err := d.digest(member.Name); err == nil {
				t.Errorf("what was moved can be downloaded: %s", sum)
			}

			r := d.mustPost(content)
			if r.Status != http.StatusCreated || !slices.Equal(r.Uploaded, []string{member.Name}) {
				t.Errorf("the next upload: status %d, uploaded are %q", r.Status, r.Uploaded)
			}
			if sum, err := d.digest(member.Name); err != nil || sum != member.MD5 {
				t.Errorf("download: MD5 %s, %v; want %s", sum, err, member.MD5)
			}
			if code, stdout, stderr := d.verify("--repair"); code != 0 || stdout != "" {
				t.Errorf("in the end: %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// spoil changes a file in its middle, and leaves its size.
func spoil(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		data[len(data)/2+i] ^= 0x5a
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A verify that is interrupted says how to go on, and what goes on leaves nothing out.
func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, nil)
	content := makeArchive(t, testarchive.Spec{Seed: 12, Members: 20})
	d.expectPost(content, http.StatusCreated)
	names := make([]string, 0, len(content.Members))
	for _, m := range content.Members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	first, last := names[0], names[len(names)-1]
	objects := filepath.Join(d.Dir, "data", "symbols", "v1")
	if err := os.Truncate(filepath.Join(objects, first), 0); err != nil { // nothing of it is to be read
		t.Fatal(err)
	}
	spoil(t, filepath.Join(objects, last))

	slow := d.Command("tecken-upload", "verify", "--rate", "1B/s")
	out, err := slow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	slow.Stderr = &stderr
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasPrefix(line, "v1/"+first+"\tbroken\t") {
		t.Errorf("line %q, %v", line, err)
	}
	if err := slow.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err = slow.Wait()
	after := regexp.MustCompile(`--after '([^']*)'`).FindStringSubmatch(stderr.String())
	if slow.ProcessState.ExitCode() != 2 || after == nil || after[1] != "v1/"+first {
		t.Fatalf("interrupted: %v\n%s", err, &stderr)
	}
	code, stdout, rest := d.verify("--after", after[1])
	if code != 1 || !strings.HasPrefix(stdout, "v1/"+last+"\tbroken\t") || !strings.HasPrefix(rest, "19 files verified, ") {
		t.Errorf("gone on: %d\n%s%s", code, stdout, rest)
	}
}

func TestVerifyCanNotBeDone(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	s3 := testenv.S3(t)
	s3.Setenv(t)
	refuser := testenv.RefuseS3(t, s3.Endpoint, 1000, http.StatusForbidden, "AccessDenied")
	for name, tt := range map[string]struct {
		url  string
		args []string
		want string
	}{
		"no directory": {"file:" + missing, nil, "TECKEN_STORAGE_URL: stat " + missing},
		"no storage":   {"symbols", nil, "TECKEN_STORAGE_URL: storage is either file:PATH"},
		"no rights":    {s3.Through(refuser.Endpoint), nil, "list bucket symbols: "},
		"no key":       {"file:" + missing, []string{"--after=xul.pdb"}, "--after: takes a key"},
		"no date":      {"file:" + missing, []string{"--since=yesterday"}, "neither a day"},
		"no rate":      {"file:" + missing, []string{"--rate=fast"}, "does not end in /s"},
		"no files":     {"file:" + missing, []string{"--parallel=0"}, "--parallel: is 0, must be 1 or more"},
	} {
		code, stdout, stderr := command(t, map[string]string{"TECKEN_STORAGE_URL": tt.url}, append([]string{"verify"}, tt.args...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: %d %s%s", name, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
}

// What another server has stored is said to be that, file by file, and nothing else becomes of it.
func TestVerifyOfForeignFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "v1", "a", "0f"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "v1", "a", "0f", "a.sym")
	if err := os.WriteFile(path, []byte("MODULE"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, map[string]string{"TECKEN_STORAGE_URL": "file:" + dir}, "verify", "--repair")
	if want := "v1/a/0f/a.sym\tnot verifiable\tno size and MD5 are recorded\n"; code != 0 || stdout != want || !strings.Contains(stderr, "1 not verifiable") {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
