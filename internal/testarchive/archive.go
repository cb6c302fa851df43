package testarchive

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// A Format is a kind of archive. For other compressors write a [Tar] through one.
type Format string

// The formats that can be written.
const (
	Zip     Format = "zip" // with data descriptors, as written to a stream
	Tar     Format = "tar"
	TarGzip Format = "tar.gz"
	TarZstd Format = "tar.zst"
)

// defaultLevel is the level of most zip programs.
const defaultLevel = 6

// A Mix is the kinds of members in an archive.
type Mix string

// The mixes. In all of them one to three members hold 95 % of the archive's bytes.
const (
	RealMix  Mix = "real"  // by count 41 % .sym, 19 % .dbg.gz, 18 % .pd_, 10 % .ex_, 8 % .dl_, 4 % .tar.bz2
	PlainMix Mix = "plain" // 40 % .sym, and .pdb, .dll and .exe, which deflate about 1.7 : 1
	OnlySym  Mix = "sym"
)

// A Spec describes an archive. Zero fields mean the defaults.
type Spec struct {
	Seed    uint64
	Version uint64 // another version has other content under the same names
	Bytes   int64  // about the archive's size; default 1 MiB
	Members int    // without the listing; default 104, the median of real uploads
	Mix     Mix    // default RealMix
	Format  Format // default Zip
	Level   int    // of compression, 1 to 9; default 6. Bytes is met at 6: a lower one makes larger archives
	Store   bool   // members of a zip are stored, not deflated
	Listing bool   // adds a <name>-symbols.txt at the root, which servers ignore
}

// A Manifest lists an archive's content, to compare it with the result of an upload.
type Manifest struct {
	Bytes     int64    `json:"bytes"`     // of the archive
	Extracted int64    `json:"extracted"` // of all members
	Members   []Member `json:"members"`
}

// A Member is one file in an archive.
type Member struct {
	Name    string `json:"name"` // <module>/<id>/<file>
	Size    int64  `json:"size"`
	MD5     string `json:"md5"` // lower-case hex
	CRC32   uint32 `json:"crc32"`
	Stored  int64  `json:"stored"`            // bytes of its data in a zip; Size in others
	CodeID  string `json:"code_id,omitempty"` // that a .sym states
	Ignored bool   `json:"ignored,omitempty"` // the listing

	content func(w io.Writer) error
}

// Write writes spec's archive to w. It fails with w, and for an impossible spec: an unknown mix or format, or more members than bytes for
// them.
func Write(w io.Writer, spec Spec) (Manifest, error) {
	spec = spec.withDefaults()
	members, err := plan(spec)
	if err != nil {
		return Manifest{}, err
	}
	counted := &counter{w: w}
	c, err := newContainer(counted, spec)
	if err != nil {
		return Manifest{}, err
	}
	manifest := Manifest{Members: members}
	for i := range members {
		if err := add(c, &members[i]); err != nil {
			return Manifest{}, fmt.Errorf("write %s: %w", members[i].Name, err)
		}
		manifest.Extracted += members[i].Size
	}
	if err := c.Close(); err != nil {
		return Manifest{}, fmt.Errorf("end the archive: %w", err)
	}
	for i := range members {
		members[i].Stored = c.stored(i, members[i].Size)
	}
	manifest.Bytes = counted.n
	return manifest, nil
}

func (s Spec) withDefaults() Spec {
	if s.Bytes == 0 {
		s.Bytes = 1 << 20
	}
	if s.Members == 0 {
		s.Members = 104
	}
	if s.Mix == "" {
		s.Mix = RealMix
	}
	if s.Format == "" {
		s.Format = Zip
	}
	if s.Level == 0 {
		s.Level = defaultLevel
	}
	return s
}

// add writes one member and records its digests.
func add(c container, m *Member) error {
	w, err := c.create(m.Name, m.Size)
	if err != nil {
		return err
	}
	sum, crc, size := md5.New(), crc32.NewIEEE(), &counter{w: io.Discard}
	if err := m.content(io.MultiWriter(w, sum, crc, size)); err != nil {
		return err
	}
	if size.n != m.Size {
		return fmt.Errorf("made %d bytes instead of %d", size.n, m.Size)
	}
	m.MD5, m.CRC32 = hex.EncodeToString(sum.Sum(nil)), crc.Sum32()
	return nil
}

// counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
