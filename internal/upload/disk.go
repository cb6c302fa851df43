package upload

import (
	"errors"
	"fmt"
	"syscall"
)

// A Disk is one that uploads are written to.
type Disk string

// The disks there may be. Records and storage have one where they are files of this machine.
const (
	DiskSpool   Disk = "spool"
	DiskRecords Disk = "records"
	DiskStorage Disk = "storage"
)

// A DiskFault is a way in which a disk refuses to be written to.
type DiskFault string

// The ways that count, by the name they have in logs and metrics.
const (
	FaultFull     DiskFault = "full"      // ENOSPC
	FaultQuota    DiskFault = "quota"     // EDQUOT
	FaultReadOnly DiskFault = "read_only" // EROFS
	FaultIO       DiskFault = "io"        // EIO
)

// A DiskError says that a disk could not be written to. The adapter that has a disk makes it.
type DiskError struct {
	Disk  Disk
	Fault DiskFault
	Err   error
}

// Error names the disk and the fault.
func (e *DiskError) Error() string { return fmt.Sprintf("disk of %s: %s: %v", e.Disk, e.Fault, e.Err) }

// Unwrap returns Err.
func (e *DiskError) Unwrap() error { return e.Err }

// DiskFaultOf returns the fault that the kernel reports, and false where err is another one.
func DiskFaultOf(err error) (DiskFault, bool) {
	for _, f := range []struct {
		errno syscall.Errno
		fault DiskFault
	}{
		{syscall.ENOSPC, FaultFull}, {syscall.EDQUOT, FaultQuota}, {syscall.EROFS, FaultReadOnly}, {syscall.EIO, FaultIO},
	} {
		if errors.Is(err, f.errno) {
			return f.fault, true
		}
	}
	return "", false
}

// MayPass reports whether a file system's refusal can end with the same settings: by freed room, new rights or a mount. A path that leads
// through a file can't.
func MayPass(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ENOTCONN, syscall.ESTALE,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
