package storage

import (
	"errors"
	"io"
	"time"

	"tecken-upload/internal/upload"
)

// ErrChanged: the object was replaced or refreshed after it was opened.
var ErrChanged = errors.New("the object has changed since it was read")

// An Entry is one symbol file in a listing of storage.
type Entry struct {
	Location upload.Location
	Modified time.Time // when it was last stored or refreshed
}

// Stored is an object that was opened to be compared with its metadata.
type Stored struct {
	io.ReadCloser               // its bytes as they are stored, compressed where Object says so
	Object        upload.Object // what its metadata say, whether or not that is true of the bytes
	Version       string        // differs for whatever is stored there later
}
