package telemetry_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
)

// pipe is a writer with a reader that may stop reading, or go away.
type pipe struct {
	reading chan struct{} // holds an element while the reader reads
	gone    bool
	text    bytes.Buffer
}

func newPipe() *pipe {
	p := &pipe{reading: make(chan struct{}, 1)}
	p.resume()
	return p
}

func (p *pipe) stop()   { <-p.reading }
func (p *pipe) resume() { p.reading <- struct{}{} }

func (p *pipe) Write(line []byte) (int, error) {
	p.stop()
	defer p.resume()
	if p.gone {
		return 0, errors.New("broken pipe")
	}
	return p.text.Write(line)
}

func (p *pipe) read() (lines []string) {
	return strings.Fields(p.text.String())
}

// writeLines writes n lines, and returns how long that took.
func writeLines(t *testing.T, l *telemetry.Lines, from, n int) time.Duration {
	t.Helper()
	begin := time.Now()
	for i := range n {
		if _, err := fmt.Fprintf(l, "%d\n", from+i); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(begin)
}

func lost(t *testing.T, l *telemetry.Lines) string {
	t.Helper()
	m := telemetry.NewMetrics()
	m.CountLost(l)
	return metricstest.Sample(metricstest.Scrape(t, m.Handler()), "tecken_log_lines_lost_total")
}

func TestLinesAreThereOnceWritten(t *testing.T) {
	p := newPipe()
	l := telemetry.NewLines(p)
	defer l.Close(time.Minute)
	for i := range 100 {
		writeLines(t, l, i, 1)
		if got := p.read(); len(got) != i+1 {
			t.Fatalf("%d lines are there of %d", len(got), i+1)
		}
	}
}

// When the reader stops reading, one line waits for a moment, the others don't wait. When it reads again it gets all that the queue had
// room for.
func TestReaderStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe()
		l := telemetry.NewLines(p)
		defer l.Close(time.Minute)
		p.stop()
		if took := writeLines(t, l, 0, 500); took > time.Second {
			t.Errorf("500 lines took %v", took)
		}
		if took := writeLines(t, l, 500, 1000); took != 0 {
			t.Errorf("1000 more took %v", took)
		}
		if n := lost(t, l); n != "499" { // one is being written, 1,000 wait
			t.Errorf("%s lines are lost", n)
		}
		p.resume()
		synctest.Wait()
		got := p.read()
		if len(got) != 1001 || got[1000] != "1000" {
			t.Errorf("read %d lines", len(got))
		}
		writeLines(t, l, 1500, 1)
		if got := p.read(); got[len(got)-1] != "1500" {
			t.Errorf("the last line is %s", got[len(got)-1])
		}
	})
}

func TestReaderGoesAwayAndComesBack(t *testing.T) {
	p := newPipe()
	l := telemetry.NewLines(p)
	defer l.Close(time.Minute)
	writeLines(t, l, 0, 1)
	p.gone = true
	writeLines(t, l, 1, 3)
	p.gone = false
	writeLines(t, l, 4, 1)
	if got := strings.Join(p.read(), " "); got != "0 4" {
		t.Errorf("read %q", got)
	}
	if n := lost(t, l); n != "3" {
		t.Errorf("%s lines are lost", n)
	}
}

func TestCloseWaitsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe()
		l := telemetry.NewLines(p)
		p.stop()
		writeLines(t, l, 0, 10)
		begin := time.Now()
		time.AfterFunc(time.Second, p.resume)
		l.Close(time.Minute)
		if took := time.Since(begin); took != time.Second || len(p.read()) != 10 {
			t.Errorf("closed after %v, with %d lines written", took, len(p.read()))
		}

		l = telemetry.NewLines(p)
		p.stop()
		defer p.resume()
		writeLines(t, l, 0, 2000)
		begin = time.Now()
		l.Close(time.Minute)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("with a reader that does not read, closed after %v", took)
		}
	})
}
