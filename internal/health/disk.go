package health

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/disk"
	"golang.org/x/sys/unix"
)

// A Device is the block device below a directory, by its name in the kernel.
type Device string

// DeviceOf finds the device of dir's file system. It fails for those without one, such as tmpfs.
func DeviceOf(dir string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", dir, err)
	}
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	target, err := os.Readlink(link)
	if err != nil {
		return "", fmt.Errorf("find the device of %s: %w", dir, err)
	}
	return Device(filepath.Base(target)), nil
}

// Traffic returns the bytes read and written on the device since boot, or zeros if the kernel does not say.
func (d Device) Traffic() (read, written uint64) {
	counters, err := disk.IOCounters(string(d))
	if err != nil {
		return 0, 0
	}
	c := counters[string(d)]
	return c.ReadBytes, c.WriteBytes
}

// Pressure is the time that tasks of this machine have waited for disks since boot.
type Pressure struct {
	Some time.Duration // at least one task waited
	Full time.Duration // all runnable tasks waited
}

// IOPressure reads /proc/pressure/io. It fails on kernels without pressure stall information.
// https://docs.kernel.org/accounting/psi.html
func IOPressure() (Pressure, error) {
	text, err := os.ReadFile("/proc/pressure/io")
	if err != nil {
		return Pressure{}, fmt.Errorf("read the I/O pressure: %w", err)
	}
	return parsePressure(string(text))
}

// parsePressure reads lines like "some avg10=0.00 avg60=0.00 avg300=0.00 total=21043".
func parsePressure(text string) (p Pressure, err error) {
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		_, total, found := strings.Cut(rest, "total=")
		micros, numErr := strconv.ParseInt(total, 10, 64)
		if !found || numErr != nil {
			return Pressure{}, errors.Join(fmt.Errorf("read the I/O pressure: no total in %q", line), numErr)
		}
		switch kind {
		case "some":
			p.Some = time.Duration(micros) * time.Microsecond
		case "full":
			p.Full = time.Duration(micros) * time.Microsecond
		}
	}
	return p, nil
}
