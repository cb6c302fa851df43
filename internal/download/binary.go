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

	"tecken-upload/internal/inflate"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// A build id is a digest or a UUID: 8 bytes of lld's fast one to 64 of a SHA-512.
	minBuildID, maxBuildID = 8, 64
	// maxCandidates bounds the files of one module, or debug id, that are opened to find the one of a build id. There are
	// five of those at most.
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
// The build id is the code id in the header of a .sym, or has the debug id that Breakpad makes of it; the files under that
// key are candidates. One is taken only if the first 64 KiB of it, inflated where it is gzip, are those of an ELF file and
// hold a note with the whole build id: of the debug id in the key only the first 16 bytes are known. An executable has its
// code in it; debug information either has not, or is named *.dbg or *.debug. Where there is none apart, it is a program
// that was not stripped.
//
// Files that are named as debug information are found only if there is a name of that kind among Extensions.
//
// It fails as Find does.
func (f *Finder) FindBinary(ctx context.Context, q BinaryQuery) (Found, error) {
	id, err := q.id()
	if err != nil {
		return Found{}, err
	}
	w := &wanted{kind: q.Kind, id: id, cacheKey: q.cacheKey()}
	loc, err := f.binaries.get(ctx, w.cacheKey, q.Refresh, func(ctx context.Context) (upload.Location, error) {
		s := &search{Finder: f, wanted: w, seen: make(map[symbol.Key]bool)}
		return s.run(ctx)
	})
	return Found{Location: loc, binary: w}, err
}

// A search finds out where a binary is. It asks the records themselves: what it finds or misses is remembered anyway.
type search struct {
	*Finder
	wanted *wanted
	seen   map[symbol.Key]bool // candidates that were looked at
	// unstripped is the program that is debug information where nothing else is; nil: none was seen.
	unstripped *upload.Location
}

func (s *search) run(ctx context.Context) (upload.Location, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, searchTimeout, errSlow)
	defer cancel()
	modules, err := s.readModules(ctx, ModuleQuery{CodeID: strings.ToUpper(hex.EncodeToString(s.wanted.id))})
	if err != nil {
		return upload.Location{}, err
	}
	// Where no header tells, there may still be a binary.
	places := [][2]string{}
	for _, m := range modules {
		places = append(places, [2]string{m.Key.DebugFile(), m.Key.DebugID()})
	}
	places = append(places, [2]string{"", debugIDOf(s.wanted.id)})
	for _, p := range places {
		loc, err := s.among(ctx, p[0], p[1])
		if !errors.Is(err, upload.ErrNotFound) {
			return loc, err
		}
	}
	if s.unstripped != nil {
		return *s.unstripped, nil
	}
	return upload.Location{}, s.missing()
}

func (s *search) missing() error {
	return fmt.Errorf("look up the %s of build id %x: %w", s.wanted.kind, s.wanted.id, upload.ErrNotFound)
}

// among looks at the files of a module, or of all modules of that id where debugFile is empty.
func (s *search) among(ctx context.Context, debugFile, debugID string) (upload.Location, error) {
	keys, err := s.readFiles(ctx, debugFile, debugID)
	if err != nil {
		return upload.Location{}, err
	}
	for _, key := range s.candidates(keys) {
		s.seen[key] = true
		loc := upload.Location{Key: key}
		file, err := s.look(ctx, Found{Location: loc, binary: s.wanted})
		switch {
		case err == nil && !file.unstripped:
			return loc, nil
		case err == nil && s.unstripped == nil:
			s.unstripped = &loc
		case err != nil && !errors.Is(err, upload.ErrNotFound):
			return upload.Location{}, err
		}
	}
	return upload.Location{}, s.missing()
}

// candidates are the files that may be the binary, the most likely first.
func (s *search) candidates(keys []symbol.Key) []symbol.Key {
	keys = slices.DeleteFunc(keys, func(key symbol.Key) bool {
		return key.IsSym() || s.seen[key] || isDebugName(key.File()) && !slices.ContainsFunc(s.Extensions, isDebugName)
	})
	slices.SortStableFunc(keys, func(a, b symbol.Key) int {
		switch isA, isB := s.isLikely(a), s.isLikely(b); {
		case isA == isB:
			return 0
		case isA:
			return -1
		}
		return 1
	})
	return keys[:min(len(keys), maxCandidates)]
}

func (s *search) isLikely(key symbol.Key) bool {
	return isDebugName(key.File()) == (s.wanted.kind == DebugInfo)
}

// debugIDOf returns the debug id that Breakpad makes of the build id of a little-endian file: its first 16 bytes as a GUID,
// whose first three fields are numbers, and an age of 0.
// https://chromium.googlesource.com/breakpad/breakpad/+/refs/heads/main/src/common/linux/file_id.cc
func debugIDOf(buildID []byte) string {
	var guid [16]byte
	copy(guid[:], buildID)
	for _, field := range [][]byte{guid[0:4], guid[4:6], guid[6:8]} {
		slices.Reverse(field)
	}
	return fmt.Sprintf("%X0", guid)
}

func isDebugName(name string) bool {
	ext := path.Ext(strings.TrimSuffix(name, ".gz"))
	return ext == ".dbg" || ext == ".debug"
}

// check finds out whether a file that has just been opened is what is wanted; it fails with upload.ErrNotFound where it
// is something else. It sets Gzip and unstripped.
func (w *wanted) check(file *File, loc upload.Location) error {
	head, zipped, err := inflatedHead(file)
	if err != nil {
		return fmt.Errorf("read the head of %s: %w", loc.Key, err)
	}
	file.Gzip = zipped
	elf, ok := parseELF(head)
	matches := ok && elf.hasBuildID(w.id)
	switch {
	case !matches:
	case w.kind == Executable:
		matches = elf.hasCode()
	case !isDebugName(loc.Key.File()) && elf.hasCode():
		// Of a gzip stream the end is out of reach.
		matches = !zipped
		if matches {
			matches, err = elf.hasSymbols(file)
		}
		file.unstripped = matches
	}
	if err != nil {
		return fmt.Errorf("read the sections of %s: %w", loc.Key, err)
	}
	if !matches {
		return fmt.Errorf("%s is not the %s of build id %x: %w", loc.Key, w.kind, w.id, upload.ErrNotFound)
	}
	return nil
}

// inflatedHead reads what an ELF file shows of itself first. A stream that can't be inflated has an empty one.
func inflatedHead(content io.Reader) (head []byte, zipped bool, err error) {
	from := &source{Reader: content}
	buffered := bufio.NewReader(from)
	magic, _ := buffered.Peek(2)
	zipped = string(magic) == "\x1f\x8b"
	var text io.Reader = buffered
	if zipped {
		if text, err = inflate.NewGzip(buffered); err != nil {
			return nil, true, from.failed
		}
	}
	head = make([]byte, elfHead)
	n, _ := io.ReadFull(text, head)
	return head[:n], zipped, from.failed
}

// A source tells what can't be read from what is not there: to whoever reads through others both look like a file that is too
// short, for a connection that broke is an unexpected EOF as well.
type source struct {
	io.Reader
	failed error // of a Read, other than its end
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && (!errors.Is(err, io.EOF) || errors.Is(err, upload.ErrUnavailable)) {
		s.failed = err
	}
	return n, err
}
