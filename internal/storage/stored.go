package storage

import (
	"errors"
	"io"
	"time"

	"tecken-upload/internal/upload"
)

// ErrChanged reports that the object was replaced or refreshed after it was opened.
var ErrChanged = errors.New("the object has changed since it was read")

// An Entry is one symbol file in a listing of storage.
type Entry struct {
	Location upload.Location
	Modified time.Time // when it was last stored or refreshed
}

// A Leftover is something staged that its writer may have left.
type Leftover struct {
	ID    string    // under which storage discards it
	Since time.Time // when its staging began
}

// Stored is an open object, to be compared with its metadata.
type Stored struct {
	io.ReadCloser               // the stored bytes, compressed if Object says so
	Object        upload.Object // from the metadata, which may be wrong
	Version       string        // differs for each object stored at the key
}
