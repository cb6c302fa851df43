package testenv_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

func TestRedisComesAndGoes(t *testing.T) {
	server := testenv.Redis(t)
	if server.URL() != "redis://"+server.Addr {
		t.Errorf("its URL is %s", server.URL())
	}
	ask(t, server.Addr, "SET k v", "+OK")
	server.Stop()
	ask(t, server.Addr, "GET k", "")
	server.Continue()
	ask(t, server.Addr, "EXISTS k", ":1")
	server.Kill()
	server.Kill()
	ask(t, server.Addr, "PING", "")
	for range 2 {
		server.Restart()
		ask(t, server.Addr, "EXISTS k", ":0")
		ask(t, server.Addr, "SET k v", "+OK")
	}
}

func TestRedisEndsWithItsTest(t *testing.T) {
	var addr string
	t.Run("running, then hung", func(t *testing.T) {
		server := testenv.Redis(t)
		addr = server.Addr
		server.Stop()
	})
	if addr == "" {
		t.Skip("redis-server is missing")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("something still listens")
	}
}

// ask sends a command to the Redis at addr. The first line of its answer must be want; "" stands for none
// in a moment.
func ask(t *testing.T, addr, command, want string) {
	t.Helper()
	wait := testenv.Patience
	if want == "" {
		wait = 100 * time.Millisecond
	}
	got := ""
	if conn, err := net.DialTimeout("tcp", addr, wait); err == nil {
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
			t.Fatal(err)
		}
		got, _ = bufio.NewReader(conn).ReadString('\n')
	}
	if got = strings.TrimSpace(got); got != want {
		t.Errorf("%s is answered %q; want %q", command, got, want)
	}
}
