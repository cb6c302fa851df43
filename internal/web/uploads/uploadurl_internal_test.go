package uploads

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/fetch/fetchtest"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// A download that is slow makes way for others that wait for a fetch slot, and else may be as slow as it likes.
func TestASlowDownloadThatIsInTheWay(t *testing.T) {
	remote := fetchtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "PK") }))
	room, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	g := gate.New(gate.Config{Spool: room, ReceivingSlots: 4, FetchSlots: 1, FetchLine: 1, Wait: time.Minute})
	enter := func(tenant int64) *gate.Pass {
		pass, err := g.Enter(t.Context(), upload.Token{ID: tenant}, -1)
		if err != nil {
			t.Fatal(err)
		}
		return pass
	}
	first, second := enter(1), enter(2)
	if err := first.FetchSlot(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: Config{ReceiveMinRate: 100}}
	slow := func() error {
		download, err := remote.Client().Download(remote.At("/"))
		if err != nil {
			t.Fatal(err)
		}
		u := s.newURLSource(download, false, first)
		defer u.download.Close()
		if err := u.download.Open(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		u.pace.marks = []mark{{at: time.Now().Add(-paceWindow)}}
		_, err = u.Read(make([]byte, 1))
		return err
	}
	if err := slow(); err != nil {
		t.Errorf("while none waits: %v", err)
	}
	got := make(chan error)
	go func() { got <- second.FetchSlot(t.Context()) }()
	for g.Stats().FetchWaiting == 0 {
		runtime.Gosched()
	}
	if err := slow(); !errors.Is(err, upload.ErrSourceSlow) {
		t.Errorf("while another waits: %v", err)
	}
	if err := errors.Join(first.Close(), <-got, second.Close()); err != nil {
		t.Error(err)
	}
}

// trickle is a form that comes byte by byte, one each five seconds, and the connection it comes over.
type trickle struct {
	http.ResponseWriter
	deadline time.Time
}

func (c *trickle) SetReadDeadline(at time.Time) error {
	c.deadline = at
	return nil
}

func (c *trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(5 * time.Second):
		p[0] = 'a'
		return 1, nil
	case <-time.After(time.Until(c.deadline)):
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *trickle) Close() error { return nil }

// A form is small, and holds no slot: it may not take as long as an archive.
func TestAFormThatTrickles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &trickle{ResponseWriter: httptest.NewRecorder()}
		s := &Server{Config: Config{ReceiveTimeout: time.Hour, ReceiveStallTimeout: time.Minute, MaxUploadSize: 1 << 20}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/upload/", conn)
		start := time.Now()
		_, err := s.readURLForm(t.Context(), echo.New().NewContext(r, conn))
		if elapsed := time.Since(start); !errors.Is(err, upload.ErrReceiveTimeout) || elapsed > formTimeout {
			t.Errorf("%v after %v", err, elapsed)
		}
		if exchange.Ours(err) {
			t.Error("it is told of as a failure of ours")
		}
	})
}
