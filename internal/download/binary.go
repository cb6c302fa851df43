package download

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// A build id is a digest or a UUID: 8 bytes of lld's fast one to 64 of a SHA-512.
	minBuildID, maxBuildID = 8, 64
	// maxCandidates bounds the files that are opened to find the one of a build id.
	maxCandidates = 8
	// searchTimeout bounds all of that. A debugger waits longer for what it needs than for one symbol.
	searchTimeout = 20 * time.Second
)

// A Kind is what of a binary is asked for.
type Kind string

// The kinds there are. https://man7.org/linux/man-pages/man8/debuginfod.8.html
const (
	DebugInfo  Kind = "debuginfo"
	Executable Kind = "executable"
)

// A BinaryQuery is what a debugger asks for.
type BinaryQuery struct {
	BuildID string // hexadecimal, in any case
	Kind    Kind
	Refresh bool // believe nothing that is remembered
}

// id returns the build id; one that can't be any is not found.
func (q BinaryQuery) id() ([]byte, error) {
	id, err := hex.DecodeString(q.BuildID)
	if err != nil || len(id) < minBuildID || len(id) > maxBuildID {
		return nil, fmt.Errorf("look up build id %q: %w", q.BuildID, upload.ErrNotFound)
	}
	return id, nil
}

// cacheKey is what the answer is remembered by.
func (q BinaryQuery) cacheKey() string { return string(q.Kind) + "/" + strings.ToUpper(q.BuildID) }

// A wanted is what a file has to be.
type wanted struct {
	kind     Kind
	id       []byte
	cacheKey string // of the query it is the answer to
}

// FindBinary finds the regular upload's file of that kind whose build id is the given one.
//
// The build id is the code id in the header of a .sym; the files beside that are candidates. One is taken only if the
// first 64 KiB of it, inflated where it is gzip, are those of an ELF file and hold a note with the whole build id: of
// the debug id in the key only the first 16 bytes are known. An executable has its code in it; debug information
// either has not, or is named *.dbg or *.debug. Whether an executable has debug information too is not looked at.
//
// It fails as Find does.
func (f *Finder) FindBinary(ctx context.Context, q BinaryQuery) (Found, error) {
	id, err := q.id()
	if err != nil {
		return Found{}, err
	}
	w := &wanted{kind: q.Kind, id: id, cacheKey: q.cacheKey()}
	loc, err := f.binaries.get(ctx, w.cacheKey, q.Refresh, func(ctx context.Context) (upload.Location, error) {
		return f.search(ctx, w)
	})
	return Found{Location: loc, binary: w}, err
}

// search finds out where the binary is.
func (f *Finder) search(ctx context.Context, w *wanted) (upload.Location, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, searchTimeout, errSlow)
	defer cancel()
	query := ModuleQuery{CodeID: strings.ToUpper(hex.EncodeToString(w.id))}
	modules, err := f.recordedIn(ctx, query, false)
	if err != nil {
		return upload.Location{}, err
	}
	for _, m := range modules {
		names, err := f.filesOf(ctx, m)
		if err != nil {
			return upload.Location{}, err
		}
		for _, name := range candidates(names, w.kind) {
			key, err := symbol.NewKey(m.Key.DebugFile(), m.Key.DebugID(), name)
			if err != nil {
				continue
			}
			loc := upload.Location{Key: key}
			_, err = f.look(ctx, Found{Location: loc, binary: w})
			if err == nil {
				return loc, nil
			}
			if !errors.Is(err, upload.ErrNotFound) {
				return upload.Location{}, err
			}
		}
	}
	return upload.Location{}, fmt.Errorf("look up the %s of build id %x: %w", w.kind, w.id, upload.ErrNotFound)
}

// candidates are the names that may be a binary of that kind, the most likely first.
func candidates(names []string, kind Kind) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasSuffix(name, ".sym") })
	slices.SortStableFunc(names, func(a, b string) int {
		switch isA, isB := isDebugName(a) == (kind == DebugInfo), isDebugName(b) == (kind == DebugInfo); {
		case isA == isB:
			return 0
		case isA:
			return -1
		}
		return 1
	})
	return names[:min(len(names), maxCandidates)]
}

func isDebugName(name string) bool {
	ext := path.Ext(strings.TrimSuffix(name, ".gz"))
	return ext == ".dbg" || ext == ".debug"
}

// check reads the head of a content and tells whether it is what is wanted, and gzip; it fails with upload.ErrNotFound where
// it is something else.
func (w *wanted) check(content io.Reader, loc upload.Location) (zipped bool, err error) {
	head, zipped, err := inflatedHead(content)
	if err != nil {
		return false, fmt.Errorf("read the head of %s: %w", loc.Key, err)
	}
	elf, ok := parseELF(head)
	matches := ok && elf.hasBuildID(w.id)
	if w.kind == Executable {
		matches = matches && elf.hasCode()
	} else {
		matches = matches && (isDebugName(loc.Key.File()) || !elf.hasCode())
	}
	if !matches {
		return false, fmt.Errorf("%s is not the %s of build id %x: %w", loc.Key, w.kind, w.id, upload.ErrNotFound)
	}
	return zipped, nil
}

// inflatedHead reads what an ELF file shows of itself first. A stream that can't be inflated has an empty one.
func inflatedHead(content io.Reader) (head []byte, zipped bool, err error) {
	buffered := bufio.NewReader(content)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	head = make([]byte, elfHead)
	if string(magic) != "\x1f\x8b" {
		n, err := io.ReadFull(buffered, head)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = nil
		}
		return head[:n], false, err
	}
	inflate, err := gzip.NewReader(buffered)
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, true, nil
	}
	if err != nil {
		return nil, true, err
	}
	n, err := io.ReadFull(inflate, head)
	if errors.Is(err, upload.ErrUnavailable) {
		return nil, true, err
	}
	return head[:n], true, nil
}
