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
	"sync"
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

// A Binary is an ELF file, to be closed by whoever has it.
type Binary struct {
	io.ReadSeekCloser // as stored: a gzip stream, where Gzip says so
	Location          upload.Location
	Object            upload.Object
	Gzip              bool
}

// Binary opens the regular upload's file of that kind whose build id is the given one, in hexadecimal.
//
// The build id is the code id in the header of a .sym; the files beside that are candidates. One is taken only if the
// first 64 KiB of it, inflated where it is gzip, are those of an ELF file and hold a note with the whole build id: of
// the debug id in the key only the first 16 bytes are known. An executable has its code in it; debug information
// either has not, or is named *.dbg or *.debug. Whether an executable has debug information too is not looked at.
//
// It fails as Find does.
func (f *Finder) Binary(ctx context.Context, buildID string, kind Kind) (*Binary, error) {
	id, err := hex.DecodeString(buildID)
	if err != nil || len(id) < minBuildID || len(id) > maxBuildID {
		return nil, fmt.Errorf("look up build id %q: %w", buildID, upload.ErrNotFound)
	}
	key := string(kind) + "/" + strings.ToUpper(buildID)
	for refresh := false; ; refresh = true {
		loc, err := f.binaries.get(ctx, key, refresh, func(ctx context.Context) (upload.Location, error) {
			return f.search(ctx, id, kind)
		})
		if err != nil {
			return nil, err
		}
		b, err := f.openBinary(ctx, loc, id, kind)
		// Remembered it may be another one by now.
		if err == nil || !errors.Is(err, upload.ErrNotFound) || refresh {
			return b, err
		}
	}
}

// search finds out where the binary is.
func (f *Finder) search(ctx context.Context, id []byte, kind Kind) (upload.Location, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, searchTimeout, errSlow)
	defer cancel()
	query := ModuleQuery{CodeID: strings.ToUpper(hex.EncodeToString(id))}
	modules, err := f.recordedIn(ctx, query, false)
	if err != nil {
		return upload.Location{}, err
	}
	for _, m := range modules {
		names, err := f.filesOf(ctx, m)
		if err != nil {
			return upload.Location{}, err
		}
		for _, name := range candidates(names, kind) {
			key, err := symbol.NewKey(m.Key.DebugFile(), m.Key.DebugID(), name)
			if err != nil {
				continue
			}
			loc := upload.Location{Key: key}
			b, err := f.openBinary(ctx, loc, id, kind)
			if err == nil {
				return loc, b.Close()
			}
			if !errors.Is(err, upload.ErrNotFound) {
				return upload.Location{}, err
			}
		}
	}
	return upload.Location{}, fmt.Errorf("look up the %s of build id %x: %w", kind, id, upload.ErrNotFound)
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

// openBinary opens a file, provided that it is the wanted one; else it fails with upload.ErrNotFound.
func (f *Finder) openBinary(ctx context.Context, loc upload.Location, id []byte, kind Kind) (_ *Binary, err error) {
	ctx, opened, leave, err := f.takeStream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	content, obj, err := f.Storage.OpenContent(ctx, loc)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			content.Close()
		}
	}()
	head, zipped, err := inflatedHead(content)
	if err != nil {
		return nil, fmt.Errorf("read the head of %s: %w", loc.Key, err)
	}
	elf, ok := parseELF(head)
	wanted := ok && elf.hasBuildID(id)
	if kind == Executable {
		wanted = wanted && elf.hasCode()
	} else {
		wanted = wanted && (isDebugName(loc.Key.File()) || !elf.hasCode())
	}
	if !wanted {
		return nil, fmt.Errorf("%s is not the %s of build id %x: %w", loc.Key, kind, id, upload.ErrNotFound)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read %s: %w", loc.Key, err)
	}
	opened()
	return &Binary{ReadSeekCloser: &streamed{content, leave}, Location: loc, Object: obj, Gzip: zipped}, nil
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

// takeStream takes one of the places for contents that are read. Until opened is called, the context that it returns
// ends when opening has taken too long; leave ends it, and gives the place back.
func (f *Finder) takeStream(ctx context.Context) (_ context.Context, opened func(), leave func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(lookupTimeout, func() { cancel(errSlow) })
	if err := f.streams.take(ctx); err != nil {
		timer.Stop()
		cancel(nil)
		return nil, nil, nil, err
	}
	return ctx, func() { timer.Stop() }, sync.OnceFunc(func() {
		timer.Stop()
		cancel(nil)
		f.streams.leave()
	}), nil
}

// streamed is a content that gives its place back when it is closed.
type streamed struct {
	io.ReadSeekCloser
	leave func()
}

// Close implements io.Closer.
func (s *streamed) Close() error {
	defer s.leave()
	return s.ReadSeekCloser.Close()
}
