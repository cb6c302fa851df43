package exchange

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// hangUpInterval is the interval of looks for a waiting client. A client that has gone takes a slot in line.
const hangUpInterval = 500 * time.Millisecond

type connKey struct{}

// WithConn stores a connection for its requests; an http.Server's ConnContext.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// RawConn returns the connection of a request, by its context.
func RawConn(ctx context.Context) (syscall.RawConn, bool) {
	conn, ok := ctx.Value(connKey{}).(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := conn.SyscallConn()
	return raw, err == nil
}

// WhileHere makes a context that ends when the client has closed its connection, and a function that ends it, which may be called again.
func WhileHere(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := watchHangUp(ctx, func() { cancel(upload.ErrClientGone) })
	return ctx, sync.OnceFunc(func() {
		stop()
		cancel(context.Canceled)
	})
}

// watchHangUp calls gone once the client has closed its connection, unless stop is called first. net/http notices that only while it reads
// a body, or after its end; so a client that waits with its body must be watched.
func watchHangUp(ctx context.Context, gone func()) (stop func()) {
	raw, ok := RawConn(ctx)
	if !ok {
		return func() {}
	}
	done := make(chan struct{})
	background.Go("hang-up watch", func() {
		tick := time.NewTicker(hangUpInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if hungUp(raw) {
					gone()
					return
				}
			case <-done:
				return
			}
		}
	})
	return func() { close(done) }
}

// hungUp reports whether the other side has closed a TCP connection. A half-closed one counts too: it looks the same, and HTTP clients do
// not half-close before their answer.
func hungUp(raw syscall.RawConn) bool {
	over := false
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		over = err == nil && (info.State == unix.BPF_TCP_CLOSE_WAIT || info.State == unix.BPF_TCP_CLOSE)
	})
	return over || err != nil
}
