package lab

import (
	"bytes"
	"slices"

	"tecken-upload/internal/testarchive"
)

// An Archive is what a client posts.
type Archive struct {
	Filename string // as the form names it
	Content  []byte
	Members  []testarchive.Member // that are to be stored
	Ignored  int                  // other members
	Broken   bool                 // it must be refused with a 400
}

// NewArchive makes an archive.
func NewArchive(spec testarchive.Spec) (*Archive, error) {
	var content bytes.Buffer
	manifest, err := testarchive.Write(&content, spec)
	if err != nil {
		return nil, err
	}
	format := spec.Format
	if format == "" {
		format = testarchive.Zip
	}
	a := &Archive{Filename: "symbols." + string(format), Content: content.Bytes(), Members: manifest.Members}
	a.Members = slices.DeleteFunc(a.Members, func(m testarchive.Member) bool { return m.Ignored })
	a.Ignored = len(manifest.Members) - len(a.Members)
	return a, nil
}

// Break damages the archive in the middle, which is in one of its largest members.
func (a *Archive) Break() {
	a.Content[len(a.Content)/2] ^= 0x55
	a.Broken = true
}
