package lookup

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"tecken-upload/internal/upload"
)

// The ids of the Simple Symbol Query Protocol that name a binary by what is in it: what they begin with, before the id in
// hexadecimal. Case does not count, nor do the file names around it. Debug information is asked for as _.debug or _.dwarf.
// https://github.com/dotnet/symstore/blob/main/docs/specs/SSQP_Key_Conventions.md
var ssqpIDs = []struct {
	prefix string
	query  BinaryQuery
}{
	{"elf-buildid-sym-", BinaryQuery{Kind: DebugInfo, Padded: true}},
	{"elf-buildid-", BinaryQuery{Kind: Executable, Padded: true}},
	{"mach-uuid-sym-", BinaryQuery{Kind: DebugInfo, MachO: true}},
	{"mach-uuid-", BinaryQuery{Kind: Executable, MachO: true}},
}

// binary returns the query for the binary that q names; ok is false where its id is none of SSQP's.
func (q Query) binary() (b BinaryQuery, ok bool) {
	for _, s := range ssqpIDs {
		if n := len(s.prefix); len(q.ID) >= n && strings.EqualFold(q.ID[:n], s.prefix) {
			b = s.query
			b.ID, b.Try, b.Refresh = q.ID[n:], q.Try, q.Refresh
			return b, true
		}
	}
	return b, false
}

const (
	// A build id is a digest or a UUID: 4 bytes of a CRC, 8 of lld's fast one, to 64 of a SHA-512. A UUID has 16.
	minBuildID, maxBuildID = 4, 64
	uuidLen                = 16
	// paddedLen is up to how many bytes SSQP fills a build id up, with zeros.
	paddedLen = 20
)

// ids returns the ids that are meant, the shortest first: a padded one may be shorter than it looks. What can't be any is not
// found.
func (q BinaryQuery) ids() (ids [][]byte, err error) {
	id, err := hex.DecodeString(q.ID)
	least, most := minBuildID, maxBuildID
	if q.MachO {
		least, most = uuidLen, uuidLen
	}
	significant := len(bytes.TrimRight(id, "\x00"))
	if err != nil || len(id) < least || len(id) > most || significant == 0 {
		return nil, fmt.Errorf("look up the binary of id %q: %w", q.ID, upload.ErrNotFound)
	}
	if q.Padded && len(id) == paddedLen {
		for n := max(significant, least); n < len(id); n++ {
			ids = append(ids, id[:n])
		}
	}
	return append(ids, id), nil
}
