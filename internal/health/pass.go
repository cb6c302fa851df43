package health

import (
	"errors"
	"syscall"
)

// MayPass reports whether a file system's refusal may pass with the settings as they are: somebody frees room, gives rights, or mounts
// what is missing. A path that leads through a file, say, does not.
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
