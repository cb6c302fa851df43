package audit_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/audit"
)

// The progress says where another pass would go on.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := audit.New(audit.Config{After: "v1/a/0F/a.sym"}).PrintProgress(&out)
		<-time.After(21 * time.Second)
		stop()
		<-time.After(10 * time.Second)
		if want := strings.Repeat("0 files verified, 0.0 MiB read: 0 broken; at v1/a/0F/a.sym\n", 2); out.String() != want {
			t.Errorf("printed were\n%swant\n%s", &out, want)
		}
	})
	totals := audit.Totals{Files: 12, Bytes: 3 << 19, Broken: 3, Moved: 2, Unverifiable: 4, Unreadable: 5, Gone: 6}
	if got, want := totals.String(), "12 files verified, 1.5 MiB read: 3 broken (2 moved), 4 not verifiable, 5 unreadable, 6 gone meanwhile"; got != want {
		t.Errorf("the text is %q; want %q", got, want)
	}
}
