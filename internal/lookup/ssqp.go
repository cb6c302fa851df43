package lookup

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"tecken-upload/internal/upload"
)

// The ids of the Simple Symbol Query Protocol for the content of binaries: a prefix, and the id in hexadecimal. Case does not matter, nor
// do the file names around it. Debug information is requested as _.debug or _.dwarf.
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

// binary returns the query for the binary of an SSQP id; ok is false for another id.
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
	// A build id is a digest or a UUID: from 4 bytes of a CRC, by 8 of lld's fast one, to 64 of a SHA-512. A UUID has 16.
	minBuildID, maxBuildID = 4, 64
	uuidLen                = 16
	// paddedLen is the length to which SSQP pads build ids with zeros.
	paddedLen = 20
)

// ids returns the possible ids, the shortest first: a padded one may be shorter than it looks. An impossible id is not found.
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
