package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/testenv"
)

// A Part is the part of a site with a fault. Two faults of one part never overlap.
type Part string

// The parts of a site.
const (
	ServerPart   Part = "server"
	JanitorPart  Part = "disk manager"
	SpoolPart    Part = "spool's disk"
	RecordsPart  Part = "records' disk"
	SymbolsPart  Part = "symbols' disk"
	CallsPart    Part = "system calls"
	S3Part       Part = "S3"
	DatabasePart Part = "database"
	RedisPart    Part = "Redis"
)

// detachGrace bounds strace's leaving of a process.
const detachGrace = 2 * time.Second

// ErrMissed is wrapped by the error of a fault that found its target gone.
var ErrMissed = errors.New("missed")

// A Fault is a fault of a site.
type Fault struct {
	Name string
	Part Part
	// Lasts: it lasts until it is undone. Others are over when Do returns.
	Lasts bool
	// Do makes the fault, and returns a function that undoes it, or nil. It draws from random.
	Do func(ctx context.Context, random *rand.Rand) (undo func(context.Context) error, err error)
}

// Faults returns the faults possible for this site on this machine.
func (s *Site) Faults(ctx context.Context) (all []Fault) {
	all = append(all,
		momentary("kill -9 of the server", ServerPart, s.Server.Kill),
		momentary("SIGTERM of the server", ServerPart, s.Server.Terminate),
		lasting("server stopped by SIGSTOP", ServerPart, s.Server.Pause),
		momentary("kill -9 of the disk manager", JanitorPart, s.Janitor.Kill))
	for _, d := range []struct {
		*Disk
		part Part
	}{{s.Spool, SpoolPart}, {s.Records, RecordsPart}, {s.Symbols, SymbolsPart}} {
		if d.Disk != nil && d.Plain == nil {
			all = append(all, lasting("full "+string(d.part), d.part, d.Fill))
		}
	}
	if canTrace(ctx) {
		for _, errno := range []string{"EIO", "ENOSPC"} {
			all = append(all, Fault{Name: errno + " of system calls", Part: CallsPart, Lasts: true,
				Do: func(ctx context.Context, random *rand.Rand) (func(context.Context) error, error) {
					return s.inject(ctx, injected[random.IntN(len(injected))], errno, 2+random.IntN(8))
				}})
		}
	}
	if s.trouble != nil {
		for _, t := range []testenv.Trouble{
			testenv.RefuseInternal, testenv.RefuseSlowDown, testenv.CutRequest, testenv.CutAnswer, testenv.Hang,
		} {
			all = append(all, Fault{Name: "S3: " + string(t), Part: S3Part, Lasts: true,
				Do: func(_ context.Context, random *rand.Rand) (func(context.Context) error, error) {
					s.trouble.Begin(t, 0.1+0.9*random.Float64(), random.Uint64())
					return func(context.Context) error { s.trouble.End(); return nil }, nil
				}})
		}
	}
	if s.postgres != nil {
		all = append(all, Fault{Name: "PostgreSQL stopped", Part: DatabasePart, Lasts: true,
			Do: func(ctx context.Context, _ *rand.Rand) (func(context.Context) error, error) {
				return s.postgres.Start, s.postgres.Stop(ctx)
			}})
	}
	if s.redis != nil {
		all = append(all, lasting("Redis killed", RedisPart, s.killRedis), lasting("Redis hanging", RedisPart, func() (func() error, error) {
			s.redis.Stop()
			return func() error { s.redis.Continue(); return nil }, nil
		}))
	}
	return all
}

func momentary(name string, part Part, do func() error) Fault {
	return Fault{Name: name, Part: part, Do: func(context.Context, *rand.Rand) (func(context.Context) error, error) {
		return nil, do()
	}}
}

func lasting(name string, part Part, do func() (undo func() error, err error)) Fault {
	return Fault{Name: name, Part: part, Lasts: true, Do: func(context.Context, *rand.Rand) (func(context.Context) error, error) {
		undo, err := do()
		return func(context.Context) error { return undo() }, err
	}}
}

// killRedis kills Redis. Until its restart no connection of another program gets its port.
func (s *Site) killRedis() (restart func() error, err error) {
	s.redis.Kill()
	address, err := netip.ParseAddrPort(s.redis.Addr)
	if err != nil {
		return nil, err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	restart = func() error {
		defer s.redis.Restart()
		return unix.Close(socket)
	}
	err = errors.Join(unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(socket, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the port of Redis: %w", err), restart())
	}
	return restart, nil
}

// injected are the system calls that fail, together: the spool and SQLite write by pwrite64. Not write: Go's runtime wakes itself by it,
// and dies if it fails.
var injected = []string{"fsync,fdatasync", "pwrite64", "pread64", "openat", "renameat,renameat2", "fallocate,ftruncate", "mkdirat,unlinkat"}

// inject makes every n-th call of the server fail.
func (s *Site) inject(ctx context.Context, calls, errno string, n int) (undo func(context.Context) error, err error) {
	undo, err = trace(ctx, s.Server.Process(), "trace="+calls, fmt.Sprintf("inject=%s:error=%s:when=%d+%d", calls, errno, n, n))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissed, err)
	}
	return undo, nil
}

// trace attaches strace to a process, and returns once it is attached.
func trace(ctx context.Context, p *process.Process, expressions ...string) (detach func(context.Context) error, err error) {
	args := []string{"-f", "-o", os.DevNull, "-p", strconv.Itoa(p.PID())}
	for _, e := range expressions {
		args = append(args, "-e", e)
	}
	tracer, err := process.Start(exec.Command("strace", args...))
	if err != nil {
		return nil, err
	}
	err = tracer.Until(ctx, "attach strace", func(context.Context) bool { return strings.Contains(tracer.Tail(), " attached") })
	if err != nil {
		return nil, errors.Join(err, tracer.Kill())
	}
	return func(ctx context.Context) error {
		err := tracer.Signal(syscall.SIGINT) // which detaches it
		// Strace may wait for ever for a thread that ends at this moment. The kernel detaches what a dead tracer leaves.
		ctx, cancel := context.WithTimeout(ctx, detachGrace)
		defer cancel()
		select {
		case <-tracer.Exited():
		case <-ctx.Done():
		}
		return errors.Join(err, tracer.Kill())
	}, nil
}

// canTrace reports whether our processes may be traced here.
func canTrace(ctx context.Context) bool {
	p, err := process.Start(exec.Command("sleep", "60"))
	if err != nil {
		return false
	}
	detach, err := trace(ctx, p, "trace=fsync")
	if err == nil {
		err = detach(ctx)
	}
	return errors.Join(err, p.Kill()) == nil
}
