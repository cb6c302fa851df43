package testenv

import (
	"context"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/lab/process"
)

// redisAnswer bounds the wait for one answer of a starting server.
const redisAnswer = time.Second

// A RedisServer is a running Redis that keeps nothing on disk, in a directory of its own. Its methods are not safe for concurrent use.
type RedisServer struct {
	Addr string // 127.0.0.1:<port>, the same after a restart

	t       testing.TB
	program string
	dir     string
	server  *process.Process // the last one started
}

// Redis starts the test's own redis-server, which ends with it.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		Missing(t, "redis-server", "scripts/test installs Debian's package redis-server.")
	}
	s := &RedisServer{t: t, program: program, dir: t.TempDir()}
	t.Cleanup(s.end)
	// Another process may take the port before the server binds it.
	for range 3 {
		s.Addr = freeAddr(t)
		if err = s.start(); err == nil {
			return s
		}
		t.Logf("start redis-server: %v", err)
	}
	t.Fatal("redis-server does not start")
	return nil
}

// URL returns the TECKEN_REDIS_URL of the server.
func (s *RedisServer) URL() string { return "redis://" + s.Addr }

// Through returns the TECKEN_REDIS_URL of the server behind another address ("host:port"), a proxy's.
func (s *RedisServer) Through(addr string) string { return "redis://" + addr }

// Kill ends the server like a crash: its connections break, and its memory is gone. It may be killed already.
func (s *RedisServer) Kill() {
	s.t.Helper()
	if err := s.server.Kill(); err != nil {
		s.t.Fatalf("kill redis-server: %v", err)
	}
}

// Stop makes the server hang: it keeps its port and its connections, and answers nothing until Continue.
func (s *RedisServer) Stop() { s.signal(syscall.SIGSTOP) }

// Continue ends Stop. The server keeps its memory, and answers what came meanwhile.
func (s *RedisServer) Continue() { s.signal(syscall.SIGCONT) }

// Restart starts an empty server at the same address, after killing the running one.
func (s *RedisServer) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart redis-server: %v", err)
	}
}

func (s *RedisServer) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.server.Signal(sig); err != nil {
		s.t.Fatalf("send redis-server %v: %v", sig, err)
	}
}

// end kills the server, and shows its output if the test failed.
func (s *RedisServer) end() {
	if s.server == nil {
		return
	}
	if err := s.server.Kill(); err != nil {
		s.t.Errorf("kill redis-server: %v", err)
	}
	if s.t.Failed() {
		s.t.Logf("output of redis-server:\n%s", s.server.Tail())
	}
}

// start starts the server, and returns once it answers.
func (s *RedisServer) start() error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	s.server, err = process.Start(exec.Command(s.program, "--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no"))
	if err != nil {
		return err
	}
	return untilUp(s.t, s.server, func(ctx context.Context) bool { return pings(ctx, s.Addr) })
}

// pings reports whether a Redis at addr answers a PING.
func pings(ctx context.Context, addr string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(redisAnswer)) != nil {
		return false
	}
	answer := make([]byte, len("+PONG\r\n"))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, answer)
	return err == nil && string(answer) == "+PONG\r\n"
}
