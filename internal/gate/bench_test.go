package gate

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// One look at a full line without room, in which every upload is hopeless: the cost of each change then.
func BenchmarkLook(b *testing.B) {
	for _, tenants := range []int64{2, 100} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) {
			g := New(Config{ReceivingSlots: 10, TenantUploads: 1, Wait: time.Minute, Timeout: time.Minute})
			g.bytes = 1
			g.kept[inside].add(hold{time.Hour, 1})
			for i := range int64(maxWaiting) {
				p, err := g.arrive(&upload.Token{ID: i % tenants, Weight: 1}, 1<<30)
				if err != nil {
					continue // the line is full
				}
				g.mu.Lock()
				p.queue(waiting, time.Now())
				g.mu.Unlock()
			}
			usage := &spool.Usage{Room: 1 << 20, Budget: 1 << 40}
			for b.Loop() {
				g.mu.Lock()
				g.scan(g.look(usage, 0))
				g.mu.Unlock()
			}
			b.ReportMetric(float64(len(g.in[waiting])), "waiting")
		})
	}
}

// One upload after the other, each admitted at once: what the gate and its spool cost then.
func BenchmarkEnter(b *testing.B) {
	room, err := spool.Open(filepath.Join(b.TempDir(), "spool"), spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer room.Close()
	g := New(Config{Spool: room, ReceivingSlots: 64, TenantUploads: 8, Wait: time.Minute, Timeout: time.Minute})
	for b.Loop() {
		pass, err := g.Enter(b.Context(), upload.Token{ID: 1, Weight: 1}, 1)
		if err != nil {
			b.Fatal(err)
		}
		pass.Received(1)
		pass.Done(1)
		if err := pass.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
