package health

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// trial is an instance's disks, with a clock and disks that the test moves.
type trial struct {
	*testing.T
	*Disks
	at        time.Time
	recovered map[upload.Disk]bool
	turned    []string
}

func newTrial(t *testing.T, threshold int) *trial {
	d := &trial{T: t, at: time.Unix(1000, 0), recovered: make(map[upload.Disk]bool)}
	tried := make(map[upload.Disk]func() bool)
	for _, disk := range []upload.Disk{upload.DiskSpool, upload.DiskRecords, upload.DiskStorage} {
		d.recovered[disk] = true
		tried[disk] = func() bool { return d.recovered[disk] }
	}
	d.Disks = NewDisks(DisksConfig{Threshold: threshold, Window: time.Minute, Recovered: tried, Now: func() time.Time { return d.at },
		Turned: func(disk upload.Disk, red bool) { d.turned = append(d.turned, fmt.Sprint(disk, " ", red)) }})
	return d
}

var enospc = &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}

func (d *trial) want(full bool, when string) {
	d.Helper()
	if got := d.Full(); got != full {
		d.Errorf("%s: full is %t", when, got)
	}
}

func TestWhatCounts(t *testing.T) {
	onDisk := func(disk upload.Disk, fault upload.DiskFault) error {
		return fmt.Errorf("%w: %w", upload.ErrUnavailable, &upload.DiskError{Disk: disk, Fault: fault, Err: syscall.EIO})
	}
	for _, tc := range []struct {
		err  error
		want Cause // none counts
	}{
		{nil, Cause{}},
		{errors.New("no space left on device"), Cause{}},
		{syscall.EACCES, Cause{}},
		{upload.ErrUnavailable, Cause{}},
		{enospc, Cause{upload.DiskSpool, upload.FaultFull}},
		{fmt.Errorf("receive: %w", syscall.EDQUOT), Cause{upload.DiskSpool, upload.FaultQuota}},
		{fmt.Errorf("create: %w", syscall.EROFS), Cause{upload.DiskSpool, upload.FaultReadOnly}},
		{fmt.Errorf("read: %w", syscall.EIO), Cause{upload.DiskSpool, upload.FaultIO}},
		{onDisk(upload.DiskRecords, upload.FaultFull), Cause{upload.DiskRecords, upload.FaultFull}},
		{onDisk(upload.DiskStorage, upload.FaultReadOnly), Cause{upload.DiskStorage, upload.FaultReadOnly}},
		{errors.Join(errors.New("x"), onDisk(upload.DiskRecords, upload.FaultIO)), Cause{upload.DiskRecords, upload.FaultIO}},
		{fmt.Errorf("create: %w", &spool.FullError{Busy: true}), Cause{}},
		{fmt.Errorf("create: %w", &spool.FullError{Busy: false}), Cause{upload.DiskSpool, upload.FaultFull}},
		{fmt.Errorf("receive: %w", &spool.FullError{Err: syscall.EDQUOT}), Cause{upload.DiskSpool, upload.FaultQuota}},
	} {
		d := newTrial(t, 3)
		d.Note(tc.err)
		want := map[Cause]int64{}
		if tc.want != (Cause{}) {
			want[tc.want] = 1
		}
		if diff := cmp.Diff(want, d.Counts()); diff != "" {
			t.Errorf("%v: %s", tc.err, diff)
		}
	}
}

func TestRedAtTheThreshold(t *testing.T) {
	d := newTrial(t, 3)
	for range 2 {
		d.Note(enospc)
		d.want(false, "below the threshold")
	}
	d.Note(enospc)
	d.want(true, "at the threshold")
}

// Each disk has its own window and recovery.
func TestDisksApart(t *testing.T) {
	d := newTrial(t, 2)
	records := &upload.DiskError{Disk: upload.DiskRecords, Fault: upload.FaultFull, Err: syscall.ENOSPC}
	storage := &upload.DiskError{Disk: upload.DiskStorage, Fault: upload.FaultIO, Err: syscall.EIO}
	for _, err := range []error{enospc, records, storage} {
		d.Note(err)
	}
	d.want(false, "one error of each disk")
	d.Note(records)
	d.Note(storage)
	if diff := cmp.Diff([]upload.Disk{upload.DiskRecords, upload.DiskStorage}, d.Red()); diff != "" {
		t.Error(diff)
	}
	d.recovered[upload.DiskRecords], d.recovered[upload.DiskSpool] = false, false
	d.at = d.at.Add(time.Minute)
	if diff := cmp.Diff([]upload.Disk{upload.DiskRecords}, d.Red()); diff != "" {
		t.Error(diff)
	}
	d.recovered[upload.DiskRecords] = true
	d.want(false, "the records' disk has recovered; the spool was never red")
	if diff := cmp.Diff([]string{"records true", "storage true", "storage false", "records false"}, d.turned); diff != "" {
		t.Error(diff)
	}
}

// An error of an unknown disk is counted, and turns nothing red.
func TestADiskThatIsNotOurs(t *testing.T) {
	d := NewDisks(DisksConfig{Threshold: 1, Window: time.Minute, Now: time.Now})
	d.Note(enospc)
	if d.Full() || len(d.Counts()) != 1 {
		t.Errorf("full %t, counts %v", d.Full(), d.Counts())
	}
}

func TestErrorsThatAreTooFarApart(t *testing.T) {
	d := newTrial(t, 3)
	d.Note(enospc)
	d.at = d.at.Add(30 * time.Second)
	d.Note(enospc)
	d.at = d.at.Add(30 * time.Second) // the first is now exactly as old as the window is long
	d.Note(enospc)
	d.want(false, "two are inside the window")
	d.at = d.at.Add(30*time.Second - 1)
	d.Note(enospc)
	d.want(true, "three are, the oldest by a nanosecond")
}

func TestGreenAgain(t *testing.T) {
	d := newTrial(t, 2)
	d.Note(enospc)
	d.at = d.at.Add(10 * time.Second)
	d.Note(enospc)
	d.at = d.at.Add(50*time.Second - 1)
	d.want(true, "both are inside the window")
	d.recovered[upload.DiskSpool] = false
	d.at = d.at.Add(1)
	d.want(true, "the window has moved on, the disk is still full")
	d.recovered[upload.DiskSpool] = true
	d.want(false, "and there is room")
	d.Note(enospc)
	d.want(true, "the one from before is still inside the window")
	d.at = d.at.Add(time.Hour)
	d.want(false, "long after")
	d.Note(enospc)
	d.want(false, "one alone, afterwards")
}

func TestAThresholdOfOne(t *testing.T) {
	d := newTrial(t, 1)
	d.Note(enospc)
	d.want(true, "at once")
	d.at = d.at.Add(time.Minute)
	d.want(false, "a window later")
}

func TestAnErrorWhileTheDiskIsTried(t *testing.T) {
	at := time.Unix(1000, 0)
	var d *Disks
	d = NewDisks(DisksConfig{Threshold: 1, Window: time.Minute, Now: func() time.Time { return at }, Recovered: map[upload.Disk]func() bool{
		upload.DiskSpool: func() bool { d.Note(enospc); return true },
	}})
	d.Note(enospc)
	at = at.Add(time.Minute)
	if !d.Full() {
		t.Error("an error that came meanwhile was forgotten")
	}
}

func TestConcurrentUse(t *testing.T) {
	d := NewDisks(DisksConfig{Threshold: 50, Window: time.Minute, Now: time.Now, Recovered: map[upload.Disk]func() bool{
		upload.DiskSpool: func() bool { return true },
	}})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			d.Note(enospc)
			d.Full()
		})
	}
	wg.Wait()
	if n := d.Counts()[Cause{upload.DiskSpool, upload.FaultFull}]; n != 100 || !d.Full() {
		t.Errorf("%d errors, full %t", n, d.Full())
	}
}
