package lab

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"tecken-upload/internal/testenv"
)

// programs is the directory of both programs, once built.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// parallel is how many parallel tests run at once: they wait for programs, more than they compute.
const parallel = 6

// Run runs the tests of a package that opens sites, and removes the programs built for them. TestMain calls it.
func Run(m *testing.M) int {
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil { // the command line wins: it is read later
		panic(err)
	}
	defer func() { _ = os.RemoveAll(programs.dir) }() // remains in a temporary directory are harmless
	return m.Run()
}

// Programs builds both programs, as they are shipped, once for each test binary, and returns the directory they are in.
func Programs(t testing.TB) string {
	t.Helper()
	programs.once.Do(func() {
		root := testenv.Root(t)
		if programs.err = readSources(root); programs.err != nil {
			return
		}
		if programs.dir, programs.err = os.MkdirTemp("", "tecken-programs-"); programs.err != nil {
			return
		}
		build := exec.Command("go", "build", "-C", root, "-buildvcs=false", "-o", programs.dir+"/",
			"./cmd/tecken-upload", "./cmd/disk-manager")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

// readSources reads the directories of the programs' sources: go test repeats a result, instead of running the test again, as long as
// nothing has changed that the test has read.
func readSources(root string) error {
	var errs error
	for _, dir := range []string{"cmd", "internal"} {
		errs = errors.Join(errs, filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err }))
	}
	return errs
}
