package health

import (
	"errors"
	"slices"
	"sync"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// A Cause is a disk and its fault.
type Cause struct {
	Disk  upload.Disk
	Fault upload.DiskFault
}

// Disks count the errors of each disk that uploads are written to. They are safe for concurrent use.
type Disks struct {
	order   []upload.Disk
	windows map[upload.Disk]*window

	mu     sync.Mutex // guards counts
	counts map[Cause]int64
}

// DisksConfig is when an instance turns red, and green again.
type DisksConfig struct {
	// Threshold is the number of errors of one disk inside Window that turn the instance red, at least 1.
	Threshold int
	Window    time.Duration
	// Recovered reports for each disk whether it can be written to again. It is called while the disk is red, and returns within seconds.
	Recovered map[upload.Disk]func() bool
	// Turned is called when a disk turns red, and when it turns green. It may be nil.
	Turned func(disk upload.Disk, red bool)
	Now    func() time.Time // the clock; time.Now outside of tests
}

// NewDisks makes Disks without errors.
func NewDisks(c DisksConfig) *Disks {
	d := &Disks{windows: make(map[upload.Disk]*window), counts: make(map[Cause]int64)}
	for _, disk := range []upload.Disk{upload.DiskSpool, upload.DiskRecords, upload.DiskStorage} {
		if recovered := c.Recovered[disk]; recovered != nil {
			d.order = append(d.order, disk)
			d.windows[disk] = &window{threshold: c.Threshold, length: c.Window, recovered: recovered, now: c.Now, turned: func(red bool) {
				if c.Turned != nil {
					c.Turned(disk, red)
				}
			}}
		}
	}
	return d
}

// Note counts err if it is, or wraps, a disk's error. It takes any error, and nil.
func (d *Disks) Note(err error) {
	cause, ok := CauseOf(err)
	if !ok {
		return
	}
	d.mu.Lock()
	d.counts[cause]++
	d.mu.Unlock()
	if w := d.windows[cause.Disk]; w != nil {
		w.add()
	}
}

// CauseOf returns the disk that err is about and its fault, or false. A kernel error that no adapter claims is the spool's.
func CauseOf(err error) (Cause, bool) {
	if full := (*spool.FullError)(nil); errors.As(err, &full) && full.Err == nil {
		return Cause{upload.DiskSpool, upload.FaultFull}, !full.Busy
	}
	if disk := (*upload.DiskError)(nil); errors.As(err, &disk) {
		return Cause{disk.Disk, disk.Fault}, true
	}
	fault, ok := upload.DiskFaultOf(err)
	return Cause{upload.DiskSpool, fault}, ok
}

// Full reports whether the heartbeats must be red. It calls no service over a network.
func (d *Disks) Full() bool { return len(d.Red()) > 0 }

// Red returns the disks that turn the heartbeats red.
func (d *Disks) Red() []upload.Disk {
	return slices.DeleteFunc(slices.Clone(d.order), func(disk upload.Disk) bool { return !d.windows[disk].full() })
}

// Counts returns the errors so far.
func (d *Disks) Counts() map[Cause]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := make(map[Cause]int64, len(d.counts))
	for cause, n := range d.counts {
		counts[cause] = n
	}
	return counts
}
