package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// goroutinesPerConn is the number of net/http's goroutines per connection to storage.
	goroutinesPerConn = 2
	// settlePause is the time between two looks of Settled.
	settlePause = time.Second
)

// InUse is what a server has in use. Its two pools, of connections to storage and to the records, are bounded and kept for the next upload:
// goroutines and descriptors are counted without them.
type InUse struct {
	Goroutines  int
	Descriptors int
	Storage     int   // connections to storage
	Records     int   // files of SQLite
	Held        int64 // bytes of the spool, by the server's account
	Names       int   // files and directories in the spool
	Anonymous   int64 // allocated bytes of memory
	Resident    int64 // bytes of memory, with the program's pages
	Busy        error // what it holds for uploads; nil: nothing
}

// String implements fmt.Stringer.
func (u InUse) String() string {
	text := fmt.Sprintf("%d goroutines and %d descriptors besides the pools (%d connections to storage, %d files of records), "+
		"%d bytes of spool, %d names in it, %d MiB of anonymous memory, %d resident",
		u.Goroutines, u.Descriptors, u.Storage, u.Records, u.Held, u.Names, u.Anonymous>>20, u.Resident>>20)
	if u.Busy != nil {
		text += ", " + u.Busy.Error()
	}
	return text
}

// Beyond returns what is in use beyond that of an idle server, memory aside; nil for nothing.
func (u InUse) Beyond(idle InUse) error {
	var beyond []error
	for _, c := range []struct {
		what      string
		now, idle int64
	}{
		{"goroutines", int64(u.Goroutines), int64(idle.Goroutines)}, {"descriptors", int64(u.Descriptors), int64(idle.Descriptors)},
		{"bytes of spool", u.Held, idle.Held}, {"names in the spool", int64(u.Names), int64(idle.Names)},
	} {
		if c.now > c.idle {
			beyond = append(beyond, fmt.Errorf("%d %s more than when idle", c.now-c.idle, c.what))
		}
	}
	return errors.Join(append(beyond, u.Busy)...)
}

// InUse asks a server of the site, the kernel and the file system. Each call makes some garbage in the server, so that many let its
// collector run.
func (s *Site) InUse(ctx context.Context, i *Instance) (u InUse, err error) {
	m, err := i.Scrape(ctx)
	if err != nil {
		return u, err
	}
	var errs [5]error
	u.Storage, errs[0] = s.storageConns()
	if file, ok := s.sqliteFile(); ok {
		u.Records, errs[1] = i.Files(file)
	}
	goroutines, ok1 := m.Sum("go_goroutines")
	descriptors, ok2 := m.Sum("process_open_fds")
	held, ok3 := m.Sum("tecken_spool_held_bytes")
	if !ok1 || !ok2 || !ok3 {
		return u, errors.New("there is no metric go_goroutines, process_open_fds or tecken_spool_held_bytes")
	}
	u.Goroutines, u.Descriptors = int(goroutines)-goroutinesPerConn*u.Storage, int(descriptors)-u.Storage-u.Records
	u.Held, u.Busy = int64(held), m.atRest()
	entries, err := os.ReadDir(s.SpoolDir())
	errs[2], u.Names = err, len(entries)
	u.Anonymous, errs[3] = i.Memory("RssAnon")
	u.Resident, errs[4] = i.Memory("VmRSS")
	return u, errors.Join(errs[:]...)
}

// Settled returns what a server has in use, memory aside, once that stays the same for a look and a second.
func (s *Site) Settled(ctx context.Context, i *Instance) (u InUse, err error) {
	for {
		last := u
		if u, err = s.InUse(ctx, i); err != nil {
			return u, err
		}
		if u.Busy == nil && u.Goroutines == last.Goroutines && u.Descriptors == last.Descriptors {
			return u, nil
		}
		// Not more often: the connection of one look must be gone before the next.
		if Pause(ctx, settlePause); ctx.Err() != nil {
			return u, fmt.Errorf("the server does not come to rest: %w: %v", context.Cause(ctx), u)
		}
	}
}

// storageConns counts the established connections to the site's S3, or to the proxy in front of it; 0 without S3.
func (s *Site) storageConns() (n int, err error) {
	u, err := url.Parse(s.Settings["TECKEN_STORAGE_URL"])
	if err != nil {
		return 0, err
	}
	endpoint, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil || endpoint.Port() == "" {
		return 0, err
	}
	port, err := strconv.ParseUint(endpoint.Port(), 10, 16)
	if err != nil {
		return 0, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	const remote, state, established = 2, 3, "01"
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) > state && fields[state] == established && strings.HasSuffix(fields[remote], fmt.Sprintf(":%04X", port)) {
			n++
		}
	}
	return n, err
}
