package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/storage"
)

// progressInterval is the time between two lines of progress.
const progressInterval = 10 * time.Second

// String returns a file's object key, kind and reason, separated by tabs.
func (f Finding) String() string {
	reason := strings.Join(strings.Fields(f.Reason), " ") // on one line, whatever storage said
	return fmt.Sprintf("%s\t%s\t%s", storage.ObjectKey(f.Location), f.Kind, reason)
}

// String returns the numbers in words.
func (t Totals) String() string {
	text := fmt.Sprintf("%d files verified, %.1f MiB read: %d broken", t.Files, float64(t.Bytes)/(1<<20), t.Broken)
	if t.Moved > 0 {
		text += fmt.Sprintf(" (%d moved)", t.Moved)
	}
	for _, more := range []struct {
		n    int
		what string
	}{{t.Unverifiable, "not verifiable"}, {t.Unreadable, "unreadable"}, {t.Gone, "gone meanwhile"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return text
}

// PrintProgress prints the totals every ten seconds, and where another audit can continue, until stop is called.
func (a *Audit) PrintProgress(w io.Writer) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	background.Go("progress", func() {
		defer close(ended)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t := a.Totals()
				line := t.String()
				if t.Position != "" {
					line += "; at " + t.Position
				}
				fmt.Fprintln(w, line)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		<-ended
	}
}
