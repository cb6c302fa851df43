package differential

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// hangs is how long a program may take for one archive before it is said to hang. None takes a hundredth of that.
const hangs = time.Minute

// bounded runs a program that may take a GiB of memory and write files of 64 MiB, in sh's units of 1024 and 512 bytes: some take
// whatever a damaged archive asks for.
const bounded = `ulimit -v 1048576; ulimit -f 131072; exec "$0" "$@"`

//go:embed testdata/read.py
var pythonReader string

// needs are the programs that read, and the Debian packages they come in.
var needs = map[string]string{"python3": "python3", "bsdtar": "libarchive-tools", "unzip": "unzip", "7z": "p7zip-full", "tar": "tar"}

func checkNeeds(t *testing.T) {
	t.Helper()
	for program, pkg := range needs {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Missing(t, program, "scripts/test installs Debian's package "+pkg+".")
		}
	}
}

// A worker reads archives one after the other, with a Python and a directory of its own.
type worker struct {
	dir    string
	path   string // the archive that is being read
	ask    io.Writer
	answer *bufio.Reader
}

// newWorker starts a worker that ends with the test.
func newWorker(t *testing.T) *worker {
	t.Helper()
	python := exec.Command("python3", "-c", pythonReader)
	python.Stderr = t.Output()
	ask, errIn := python.StdinPipe()
	answer, errOut := python.StdoutPipe()
	if err := errors.Join(errIn, errOut, python.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ask.Close(), python.Wait()); err != nil {
			t.Error("python:", err)
		}
	})
	return &worker{dir: t.TempDir(), ask: ask, answer: bufio.NewReader(answer)}
}

// load makes c the archive that is read.
func (w *worker) load(c *candidate) error {
	w.path = filepath.Join(w.dir, "archive."+c.format)
	return os.WriteFile(w.path, c.data, 0o600)
}

func (w *worker) readPython(context.Context, *candidate) (l listing, err error) {
	if _, err := fmt.Fprintln(w.ask, w.path); err != nil {
		return l, err
	}
	line, err := w.answer.ReadBytes('\n')
	if err != nil {
		return l, err
	}
	var found struct {
		Files []struct {
			Name []byte
			MD5  string
		}
		Error string
	}
	if err := json.Unmarshal(line, &found); err != nil {
		return l, err
	}
	l.complaint = found.Error
	for _, f := range found.Files {
		l.files = append(l.files, file{string(f.Name), f.MD5})
	}
	return l, nil
}

func (w *worker) readBsdtar(ctx context.Context, _ *candidate) (listing, error) {
	return w.extract(ctx, nil, 0, "bsdtar", "-xf", w.path)
}

func (w *worker) readBsdtarPipe(ctx context.Context, c *candidate) (listing, error) {
	return w.extract(ctx, bytes.NewReader(c.data), 0, "bsdtar", "-xf", "-")
}

// readUnzip takes its exit status 1 for success: a warning, after which everything was extracted.
func (w *worker) readUnzip(ctx context.Context, _ *candidate) (listing, error) {
	return w.extract(ctx, nil, 1, "unzip", "-qq", "-o", w.path)
}

func (w *worker) readTar(ctx context.Context, _ *candidate) (listing, error) {
	return w.extract(ctx, nil, 0, "tar", "-xf", w.path)
}

func (w *worker) read7z(ctx context.Context, _ *candidate) (listing, error) {
	return w.extract(ctx, nil, 0, "7z", "x", "-y", "-bd", "-bso0", "-bsp0", w.path)
}

// extract runs a program in an empty directory and lists what it left there. Exit statuses up to good are success.
func (w *worker) extract(ctx context.Context, stdin io.Reader, good int, program string, args ...string) (l listing, err error) {
	dir := filepath.Join(w.dir, "out")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", bounded, program}, args...)...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, stdin, append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		l.complaint = "hangs"
	case errors.As(err, &exit):
		if code := exit.ExitCode(); code < 0 || code > good {
			l.complaint = fmt.Sprintf("%v: %s", exit, strings.ReplaceAll(strings.TrimSpace(string(out)), w.path, "ARCHIVE"))
		}
	case err != nil:
		return l, err
	}
	return l, errors.Join(l.walk(dir), os.RemoveAll(dir))
}

// walk lists what lies below dir, whatever its permissions.
func (l *listing) walk(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o700)
		}
		name := strings.TrimPrefix(path, dir+"/")
		if !d.Type().IsRegular() {
			l.files = append(l.files, file{name, d.Type().String()})
			return nil
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return l.add(name, f)
	})
}
