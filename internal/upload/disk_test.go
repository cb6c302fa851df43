package upload_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"tecken-upload/internal/upload"
)

func TestDiskFaults(t *testing.T) {
	for errno, want := range map[syscall.Errno]upload.DiskFault{
		syscall.ENOSPC: upload.FaultFull, syscall.EDQUOT: upload.FaultQuota, syscall.EROFS: upload.FaultReadOnly, syscall.EIO: upload.FaultIO,
		syscall.ENOENT: "", syscall.EACCES: "",
	} {
		err := fmt.Errorf("write: %w", &fs.PathError{Op: "write", Path: "a", Err: errno})
		if got, ok := upload.DiskFaultOf(err); got != want || ok != (want != "") {
			t.Errorf("%v: %q, %t; want %q", err, got, ok, want)
		}
	}
}

func TestDiskError(t *testing.T) {
	err := &upload.DiskError{Disk: upload.DiskRecords, Fault: upload.FaultQuota, Err: syscall.EDQUOT}
	if text := err.Error(); text != "disk of records: quota: disk quota exceeded" || !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("%q", text)
	}
}
