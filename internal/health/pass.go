package health

import (
	"errors"
	"syscall"
)

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
