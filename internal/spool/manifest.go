package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manifestName = "manifest.json"
	manifestTemp = ".manifest.json"
	manifestMax  = 64 << 10 // bytes read of a manifest
)

// A Manifest says what is being uploaded, and how far it came: the autopsy of an upload after its process died. It is in
// <dir>/<id>/manifest.json and is replaced as a whole.
type Manifest struct {
	Upload     int64          `json:"upload,omitempty"` // the upload record's id; 0 until there is one
	Tenant     int64          `json:"tenant,omitempty"` // the token's id
	TokenLabel string         `json:"token_label,omitempty"`
	User       string         `json:"user,omitempty"`     // e-mail
	Instance   string         `json:"instance,omitempty"` // TECKEN_INSTANCE of the server
	PID        int            `json:"pid"`
	Started    time.Time      `json:"started"`         // when the workspace was made
	Updated    time.Time      `json:"updated"`         // when the manifest was written
	Phase      string         `json:"phase,omitempty"` // "receive", "verify" or "publish"
	Declared   int64          `json:"declared"`        // bytes the client announced; -1: it did not
	Received   int64          `json:"received"`        // bytes that arrived; while receiving up to 64 MiB or 5 s old
	Members    int            `json:"members,omitempty"`
	Kinds      map[string]int `json:"kinds,omitempty"`     // members by extension, as ".sym": 12
	Published  int            `json:"published,omitempty"` // members that are in storage
}

// write replaces the manifest in the directory dir.
func (m *Manifest) write(dir *os.File) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	at := int(dir.Fd())
	fd, err := openat(at, manifestTemp, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return full(fmt.Errorf("make manifest: %w", err))
	}
	f := os.NewFile(uintptr(fd), manifestTemp)
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return full(fmt.Errorf("write manifest: %w", err))
	}
	if err := unix.Renameat(at, manifestTemp, at, manifestName); err != nil {
		return full(fmt.Errorf("replace manifest: %w", err))
	}
	return nil
}

// readManifest returns the manifest in the directory dir, or nil if there is no readable one: anything may be there, and a janitor does
// without.
func readManifest(dir *os.File) *Manifest {
	fd, err := openat(int(dir.Fd()), manifestName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), manifestName)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, manifestMax))
	if err != nil {
		return nil
	}
	var m Manifest
	if json.Unmarshal(text, &m) != nil {
		return nil
	}
	return &m
}
