package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

const (
	// headersTarget is how much more memory the server may have resident than when idle, heartbeatTarget how long a heartbeat may take meanwhile.
	headersTarget, heartbeatTarget = 64 << 20, 2 * time.Second
	// headersConns are the connections of the row headers, headersTime is for how long there are so many.
	headersConns, headersTime = 1000, 10 * time.Second

	// decodersTarget is how much more memory the server may have resident than when idle: TECKEN_DECODER_MEMORY, what is dead of it
	// and not given back yet, and an eighth for all the rest.
	decodersTarget = (256 + 32 + 36) << 20
	// decodersAfter is the same once the last decoder has ended, decodersTime after that.
	decodersAfter, decodersTime = 16 << 20, 10 * time.Second
	// decodersUploads come at once, from so many tenants.
	decodersUploads, decodersTenants = 24, 6
	// decodersWindow is what the archive asks for; its member is larger.
	decodersWindow, decodersMember = 64 << 20, 100_000_000
)

// A headerKind is a way to send the header of a request.
type headerKind struct {
	name  string
	begin string // sent at once
	more  string // sent each second
}

func headerKinds() []headerKind {
	const first = "POST /upload/ HTTP/1.1\r\nHost: x\r\n"
	return []headerKind{
		{name: "a byte a second", begin: "P", more: "O"},
		{name: "an ordinary header but for its end", begin: first + "Cookie: " + strings.Repeat("a", 1500)},
		{name: "60 KiB of header, without an end", begin: first + strings.Repeat("Some: "+strings.Repeat("a", 80)+"\r\n", 700)},
		{name: "1 MiB of short lines", begin: first + strings.Repeat("a:\n", 350<<10)},
	}
}

// measureHeaders opens connections that send headers, and looks at the server's memory and its heartbeats meanwhile.
func measureHeaders(b *bench) {
	a := b.archive(testarchive.Spec{Seed: 4, Bytes: b.size / 250, Members: 10, Mix: testarchive.OnlySym, Format: testarchive.Zip})
	for _, kind := range headerKinds() {
		b.part(kind.name, func(b *bench) {
			s := b.open("")
			idle := s.memory("VmRSS")
			sending, stop := context.WithTimeout(b.Context(), headersTime)
			defer stop()
			var clients sync.WaitGroup
			for range headersConns {
				clients.Go(func() {
					if err := kind.send(sending, s.Address); err != nil {
						b.Error(err)
					}
				})
			}
			s.upload(a)
			slowest, beats := s.heartbeats(sending)
			clients.Wait()
			b.atMost(headersTarget, s.memory("VmHWM")-idle, "", "resident memory beyond an idle server's, %d connections: %s", headersConns, kind.name)
			b.add(result{
				measure:  fmt.Sprintf("slowest heartbeat beside %d connections: %s", headersConns, kind.name),
				target:   fmt.Sprintf("≤ %v", heartbeatTarget),
				measured: fmt.Sprintf("%.2f s of %d", slowest.Seconds(), beats),
				missed:   slowest > heartbeatTarget,
			})
			s.compare()
		})
	}
}

// send sends a header, and goes on each second as the kind does, until the connection is closed, or ctx ends.
func (k headerKind) send(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer ended()
	_, err = io.WriteString(conn, k.begin)
	for err == nil && ctx.Err() == nil {
		lab.Pause(ctx, time.Second)
		_, err = io.WriteString(conn, k.more)
	}
	return nil // the server has closed it, or time is over
}

// heartbeats asks for both heartbeats until ctx ends, and returns how long the slowest of so many took.
func (s *site) heartbeats(ctx context.Context) (slowest time.Duration, beats int) {
	s.bench.Helper()
	for ctx.Err() == nil {
		for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
			begin := time.Now()
			if status, checks := s.Heartbeat(s.bench.Context(), path); status != 200 {
				s.bench.Fatalf("%s is %d: %v", path, status, checks)
			}
			slowest = max(slowest, time.Since(begin))
			beats++
		}
	}
	return slowest, beats
}

// measureDecoders uploads many small archives at once that ask for large decoders.
func measureDecoders(b *bench) {
	a := b.bomb()
	s := b.open("")
	idle := s.memory("VmRSS")
	var clients sync.WaitGroup
	for i := range decodersTenants {
		token := s.Token("bench@example.com")
		for range decodersUploads / decodersTenants {
			clients.Go(func() {
				if answer := s.post(lab.Upload{Archive: a, Token: token}); answer.Status != 201 {
					b.Errorf("answered %v", answer)
				}
			})
		}
		b.say("tenant %d of %d sends", i+1, decodersTenants)
	}
	clients.Wait()
	peak := s.memory("VmHWM")
	lab.Pause(b.Context(), decodersTime)
	b.atMost(decodersTarget, peak-idle, "", "resident memory beyond an idle server's, %d tar.zst of %d KB with windows of %d MiB at once",
		decodersUploads, a.Size/1000, decodersWindow>>20)
	b.atMost(decodersAfter, s.memory("VmRSS")-idle, "", "the same %v after the last", decodersTime)
	s.compare()
}

// bomb makes a small archive that needs a large decoder.
func (b *bench) bomb() *lab.Archive {
	b.Helper()
	var archive bytes.Buffer
	z, err := zstd.NewWriter(&archive, zstd.WithWindowSize(decodersWindow), zstd.WithEncoderConcurrency(1))
	b.must(err)
	content := make([]byte, decodersMember)
	sum := md5.Sum(content)
	m := testarchive.Member{Name: "bomb.so/ABCDEF0/bomb.pdb", Size: decodersMember, MD5: hex.EncodeToString(sum[:])}
	w := tar.NewWriter(z)
	b.must(w.WriteHeader(&tar.Header{Name: m.Name, Size: m.Size, Mode: 0o644}))
	_, err = w.Write(content)
	b.must(errors.Join(err, w.Close(), z.Close()))
	return &lab.Archive{
		Filename: "symbols.tar.zst", Content: bytes.NewReader(archive.Bytes()), Size: int64(archive.Len()), Members: []testarchive.Member{m},
	}
}
