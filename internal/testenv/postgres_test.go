package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childEnv makes TestPostgresEndsWithItsProcess play the part of the process that is killed.
const childEnv = "TECKEN_TESTENV_CHILD"

func TestPostgresStopsAndStarts(t *testing.T) {
	p := NewPostgres(t)
	url := p.Database(t)
	query := func() error {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS kept (id INTEGER)`)
		return errors.Join(err, conn.Close(t.Context()))
	}
	for range 2 {
		if err := query(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := query(); err == nil {
			t.Error("it answers though it is stopped")
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.remove()
	if _, err := os.Stat(p.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", p.dir, err)
	}
}

func TestPostgresDatabasesAreApart(t *testing.T) {
	if a, b := Postgres(t), Postgres(t); a == b {
		t.Errorf("both are %s", a)
	}
}

// A test process that is killed, as go test does after its time-out, leaves neither server nor folder.
func TestPostgresEndsWithItsProcess(t *testing.T) {
	p := NewPostgres(t)
	if os.Getenv(childEnv) != "" {
		fmt.Fprintln(os.Stdout, p.dir, p.server.Process.Pid)
		<-t.Context().Done()
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), childEnv+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	dir, pidText, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "PG_VERSION")); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it says that it was killed

	ctx, cancel := context.WithTimeout(t.Context(), postgresWait)
	defer cancel()
	tick := time.NewTicker(postgresPoll)
	defer tick.Stop()
	for {
		_, dirErr := os.Stat(dir)
		if errors.Is(dirErr, fs.ErrNotExist) && !running(pid) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("folder: %v, server running: %v", dirErr, running(pid))
		}
	}
}

// running reports whether a process runs; a zombie does not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
