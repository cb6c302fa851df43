package lookup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// maxCandidates bounds the files of one module, or debug id, that are opened to find the one with an id. There are at most five.
	maxCandidates = 8
	// searchTimeout bounds all of that. A debugger waits longer for what it needs than for one symbol.
	searchTimeout = 20 * time.Second
)

// A Kind is the wanted part of a binary.
type Kind string

// The kinds. https://man7.org/linux/man-pages/man8/debuginfod.8.html
const (
	DebugInfo  Kind = "debuginfo"
	Executable Kind = "executable"
)

// A BinaryQuery asks for a binary by the identity in its content.
type BinaryQuery struct {
	ID      string // hexadecimal, in any case: a GNU build id or, of Mach-O, a UUID
	Kind    Kind
	MachO   bool // instead of ELF
	Padded  bool // zeros at its end may not belong to a build id
	Try     bool // look in try uploads too, after regular ones
	Refresh bool // ignore caches
}

// cacheKey is the cache's key for one kind of upload.
func (q BinaryQuery) cacheKey(try bool) string {
	return fmt.Sprintf("%s/%t/%t/%t/%s", q.Kind, q.MachO, q.Padded, try, strings.ToUpper(q.ID))
}

// A wanted is the required properties of a file.
type wanted struct {
	kind     Kind
	machO    bool
	ids      [][]byte // one of these is in it; the shortest first
	cacheKey string   // of the query that it answers
}

// FindBinary finds the file of that kind with the given id in it.
//
// The id is the code id in the header of a .sym, or has the debug id that Breakpad derives from it; the files under that key are
// candidates. A candidate matches only if its first 64 KiB, inflated if gzip, are an ELF or Mach-O file's and hold the whole id: the debug
// id in the key has only the first 16 bytes of a build id. An executable has all bytes of its code in it; debug information is named as
// that (.dbg, .debug, .dwarf or .dsym, with or without .gz) or has symbols in it. Without separate debug information, a program that is not
// stripped serves. At most 128 MiB of a gzip file are inflated to recognise it if its name does not.
//
// With Extensions, files named as debug information are found only if one of these is such a name.
//
// It fails like Find.
func (f *Finder) FindBinary(ctx context.Context, q BinaryQuery) (found Found, err error) {
	ids, err := q.ids()
	if err != nil {
		return Found{}, err
	}
	for _, try := range []bool{false, true} {
		w := &wanted{kind: q.Kind, machO: q.MachO, ids: ids, cacheKey: q.cacheKey(try)}
		found.binary = w
		found.Location, err = f.binaries.get(ctx, w.cacheKey, q.Refresh, func(ctx context.Context) (upload.Location, error) {
			s := &search{Finder: f, wanted: w, try: try, seen: make(map[symbol.Key]bool)}
			return s.run(ctx)
		})
		if !q.Try || !errors.Is(err, upload.ErrNotFound) {
			break
		}
	}
	return found, err
}

// A search looks for a binary. It reads the records themselves: the cache has its own results.
type search struct {
	*Finder
	wanted *wanted
	try    bool
	seen   map[symbol.Key]bool // candidates examined
	// unstripped is a program that serves as debug information if nothing else does, or nil.
	unstripped *upload.Location
}

func (s *search) run(ctx context.Context) (upload.Location, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, searchTimeout, errSlow)
	defer cancel()
	builds, err := s.readKeys(ctx, func(ctx context.Context) ([]symbol.Key, error) {
		first, last := s.wanted.codeIDs()
		return s.Records.Builds(ctx, first, last, s.try)
	})
	if err != nil {
		return upload.Location{}, err
	}
	places := [][2]string{}
	for _, key := range builds {
		places = append(places, [2]string{key.DebugFile(), key.DebugID()})
	}
	// Without any header there may still be a binary.
	places = append(places, [2]string{"", s.wanted.debugID()})
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
	return fmt.Errorf("look up the %s of id %x: %w", s.wanted.kind, s.wanted.ids[0], upload.ErrNotFound)
}

// readKeys reads the present records.
func (f *Finder) readKeys(ctx context.Context, read func(context.Context) ([]symbol.Key, error)) (keys []symbol.Key, err error) {
	err = f.queries.use(ctx, func(ctx context.Context) error {
		keys, err = read(ctx)
		return err
	})
	return keys, err
}

// among examines the files of a module, or of all modules of that id if debugFile is empty.
func (s *search) among(ctx context.Context, debugFile, debugID string) (upload.Location, error) {
	keys, err := s.readKeys(ctx, func(ctx context.Context) ([]symbol.Key, error) {
		return s.Records.ModuleFiles(ctx, debugFile, debugID, s.try)
	})
	if err != nil {
		return upload.Location{}, err
	}
	for _, key := range s.candidates(keys) {
		s.seen[key] = true
		loc := upload.Location{Key: key, Try: s.try}
		unstripped, err := s.inspect(ctx, loc)
		switch {
		case err == nil && !unstripped:
			return loc, nil
		case err == nil && s.unstripped == nil:
			s.unstripped = &loc
		case err != nil && !errors.Is(err, upload.ErrNotFound):
			return upload.Location{}, err
		}
	}
	return upload.Location{}, s.missing()
}

// candidates are the possible files, the most likely first.
func (s *search) candidates(keys []symbol.Key) []symbol.Key {
	keys = slices.DeleteFunc(keys, func(key symbol.Key) bool {
		hidden := isDebugName(key.File()) && len(s.Extensions) > 0 && !slices.ContainsFunc(s.Extensions, isDebugName)
		return key.IsSym() || s.seen[key] || hidden
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

// inspect reports whether the file at loc is wanted, and, for debug information, whether it is a program that is not stripped.
func (s *search) inspect(ctx context.Context, loc upload.Location) (unstripped bool, err error) {
	err = s.looks.use(ctx, func(ctx context.Context) error {
		content, _, err := s.Storage.OpenContent(ctx, loc)
		if err != nil {
			return err
		}
		defer content.Close()
		image, err := s.wanted.identify(&heeding{content, ctx}, loc)
		if err == nil {
			unstripped, err = s.wanted.suits(image, loc)
		}
		return err
	})
	return unstripped, err
}

// codeIDs returns the range of code ids that a .sym may have.
func (w *wanted) codeIDs() (first, last string) {
	text := func(id []byte) string { return strings.ToUpper(hex.EncodeToString(id)) }
	return text(w.ids[0]), text(w.ids[len(w.ids)-1])
}

// debugID returns the debug id that Breakpad derives from a UUID, or from the build id of a little-endian file: its first 16 bytes as a
// GUID, with three numbers first, and an age of 0.
// https://chromium.googlesource.com/breakpad/breakpad/+/refs/heads/main/src/common/linux/file_id.cc
func (w *wanted) debugID() string {
	var guid [uuidLen]byte
	copy(guid[:], w.ids[0])
	if !w.machO {
		for _, field := range [][]byte{guid[0:4], guid[4:6], guid[6:8]} {
			slices.Reverse(field)
		}
	}
	return fmt.Sprintf("%X0", guid)
}

// isDebugName reports whether a file is named as debug information.
func isDebugName(name string) bool {
	name = strings.ToLower(name)
	switch path.Ext(strings.TrimSuffix(name, ".gz")) {
	case ".dbg", ".debug", ".dwarf", ".dsym":
		return true
	}
	return false
}

// An image is an ELF or Mach-O file with its head read. The methods fail if the rest is unreadable.
type image interface {
	// hasCode reports whether a program is complete: its code, and all else that is loaded.
	hasCode() (bool, error)
	// hasSymbols reports whether there is debug information, or a symbol table.
	hasSymbols() (bool, error)
}

// identified is an image with the wanted id.
type identified struct {
	image
	zipped bool // it is stored as gzip
}

// identify reads the head of a file, and fails with upload.ErrNotFound without the wanted id.
func (w *wanted) identify(content io.ReadSeeker, loc upload.Location) (found identified, err error) {
	head, zipped, err := inflatedHead(content)
	if err != nil {
		return found, fmt.Errorf("read the head of %s: %w", loc.Key, err)
	}
	if found.zipped = zipped; zipped {
		content = &inflated{stored: content, most: maxInflated}
	}
	if w.machO {
		m, ok, err := parseMachO(head, content, w.ids[0])
		if found.image = m; ok || err != nil {
			return found, seen(err, loc)
		}
	} else if e, ok := parseELF(head, content); ok && slices.ContainsFunc(w.ids, e.hasBuildID) {
		found.image = e
		return found, nil
	}
	return found, fmt.Errorf("%s is no binary of id %x: %w", loc.Key, w.ids[0], upload.ErrNotFound)
}

// suits checks the kind of an identified file, and fails with upload.ErrNotFound for another. unstripped reports that it is a program that
// is not stripped, if debug information is wanted.
func (w *wanted) suits(found identified, loc upload.Location) (unstripped bool, err error) {
	matches, named := true, isDebugName(loc.Key.File())
	switch {
	case w.kind == Executable && named && found.zipped:
		matches = false // not worth inflating
	case w.kind == Executable:
		matches, err = found.hasCode()
	case !named:
		if matches, err = found.hasSymbols(); matches {
			unstripped, err = found.hasCode()
		}
	}
	if err == nil && !matches {
		err = fmt.Errorf("%s is not the %s of id %x: %w", loc.Key, w.kind, w.ids[0], upload.ErrNotFound)
	}
	return unstripped, seen(err, loc)
}

// seen gives the error of a look into a file its kind: an unreadable gzip file is no binary.
func seen(err error, loc upload.Location) error {
	switch {
	case errors.Is(err, errOpaque):
		return fmt.Errorf("look into %s: %w (%w)", loc.Key, upload.ErrNotFound, err)
	case err != nil:
		return fmt.Errorf("look into %s: %w", loc.Key, err)
	}
	return nil
}
