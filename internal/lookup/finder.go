package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// What we would rather lose.
const (
	// lookupTimeout bounds one call to storage or to the records, the wait for its slot included. A debugger waits for it, and then asks
	// elsewhere.
	lookupTimeout = 8 * time.Second
	// spellingTimeout bounds a search for other spellings of a name that storage can answer alone, the wait for its slot included;
	// recordsPause is the pause after a failed one. While the database is down or hangs, debuggers must not wait for each of many missing
	// files.
	spellingTimeout = 2 * time.Second
	recordsPause    = 10 * time.Second
	// maxAnswers bounds the cached answers of each kind. An answer takes about 300 bytes, at most 1 KiB.
	maxAnswers = 50_000
)

// Bounds of simultaneous work.
const (
	// Lookups bounds the calls to storage that look for an object.
	Lookups = 64
	// Looks bounds the contents being examined, not sent.
	Looks = 32
	// MaxQueries bounds the calls to the records.
	MaxQueries = 4
)

// errSlow is the cause of a call that took too long.
var errSlow = fmt.Errorf("%w: it took too long", upload.ErrUnavailable)

// Storage holds the symbol files. The methods are as of upload.Storage: safe for concurrent use, ended soon after their contexts, failing
// with upload.ErrNotFound or upload.ErrUnavailable.
type Storage interface {
	// Stat describes the object at loc.
	Stat(ctx context.Context, loc upload.Location) (upload.Object, error)
	// OpenContent opens the stored bytes of the object at loc, compressed if its description says so.
	OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error)
}

// Config configures a Finder.
type Config struct {
	Storage Storage
	Records Records
	// Extensions are the endings of the names that are looked up, in any case; without any, all names are.
	Extensions []string
	// Legacy repeats a failed lookup with the id as it was sent.
	Legacy bool
	// Queries bounds the simultaneous calls to the records; at most 4, and 4 unless positive.
	Queries int
	// Observe is called at each lookup, and does not block. kind is "symbol", "spelling", "module", "binary" or "size". err is nil, wraps
	// upload.ErrNotFound, or is a failure.
	Observe func(kind string, cached bool, elapsed time.Duration, err error)
}

// A Finder finds symbol files. It is safe for concurrent use.
type Finder struct {
	Config
	objects   *cache[upload.Object]
	spellings *cache[[]symbol.Key]
	modules   *cache[catalogue.Module]
	// binaries caches the locations of build ids.
	binaries *cache[upload.Location]
	// sizes caches the inflated sizes of gzip files.
	sizes *cache[int64]

	lookups, looks, queries, measuring slots
	// away is until when the records count as away, in Unix nanoseconds.
	away atomic.Int64
}

// New makes a Finder.
func New(c Config) *Finder {
	tell := func(kind string) func(bool, time.Duration, error) {
		return func(cached bool, elapsed time.Duration, err error) {
			if c.Observe != nil {
				c.Observe(kind, cached, elapsed, err)
			}
		}
	}
	if c.Queries <= 0 || c.Queries > MaxQueries {
		c.Queries = MaxQueries
	}
	folded := make([]string, len(c.Extensions))
	for i, end := range c.Extensions {
		folded[i] = symbol.Fold(end)
	}
	c.Extensions = folded
	return &Finder{
		Config:    c,
		objects:   newCache[upload.Object](maxAnswers, tell("symbol")),
		spellings: newCache[[]symbol.Key](maxAnswers, tell("spelling")),
		modules:   newCache[catalogue.Module](maxAnswers, tell("module")),
		binaries:  newCache[upload.Location](maxAnswers, tell("binary")),
		sizes:     newCache[int64](maxAnswers, tell("size")),
		lookups:   make(slots, Lookups),
		looks:     make(slots, Looks),
		queries:   make(slots, c.Queries),
		measuring: make(slots, measures),
	}
}

// Len returns the number of cached answers.
func (f *Finder) Len() int {
	return f.objects.len() + f.spellings.len() + f.modules.len() + f.binaries.len() + f.sizes.len()
}

// A Query is a client's request: the three components of a key, decoded, in the case they were sent.
type Query struct {
	File, ID, Name string
	Try            bool // look in try uploads too, after regular ones
	Refresh        bool // ignore caches
}

// key returns the requested key, composed (NFC) as it is stored. An impossible key is not found.
func (q Query) key() (symbol.Key, error) {
	key, err := symbol.NewKey(q.File, q.ID, q.Name)
	if err == nil && key.IsNull() {
		err = errors.New("an id of zeros names nothing")
	}
	if err != nil {
		return symbol.Key{}, fmt.Errorf("look up %q %q %q: %w (%w)", q.File, q.ID, q.Name, upload.ErrNotFound, err)
	}
	return key, nil
}

// Found is a file in storage.
type Found struct {
	Location upload.Location
	// Moved means that its key is not the requested one: it has another spelling, or was found by its code id.
	Moved bool
	// binary is its required properties; nil: any.
	binary *wanted
}

// IsBinary reports whether the file was found by an identity in its content. It must be sent from here, inflated unless its client takes
// gzip, since the client does not know how it is stored.
func (f Found) IsBinary() bool { return f.binary != nil }

// Find finds the symbol file that q asks for. If none has that key, the records may have one with a name in another case or, for a .sym,
// one with this code file and id. An SSQP id leads to the binary with that id.
//
// It fails with upload.ErrNotFound or upload.ErrUnavailable, or the cause of ctx. While the records are away, storage alone answers; but
// not for a possible code id, of which it knows nothing.
func (f *Finder) Find(ctx context.Context, q Query) (Found, error) {
	if strings.EqualFold(q.Name, "file.ptr") { // debuggers ask for it, and it never exists
		return Found{}, fmt.Errorf("look up %q: %w", q.Name, upload.ErrNotFound)
	}
	if b, ok := q.binary(); ok {
		return f.FindBinary(ctx, b)
	}
	if !f.isWanted(q.Name) {
		return Found{}, fmt.Errorf("look up %q: %w", q.Name, upload.ErrNotFound)
	}
	key, err := q.key()
	if err != nil {
		return Found{}, err
	}
	found, err := f.byKey(ctx, key, q)
	if errors.Is(err, upload.ErrNotFound) {
		return f.elsewhere(ctx, key, q)
	}
	return found, err
}

// isWanted reports whether a name has one of the extensions.
func (f *Finder) isWanted(name string) bool {
	if len(f.Extensions) == 0 {
		return true
	}
	folded := symbol.Fold(name)
	return slices.ContainsFunc(f.Extensions, func(end string) bool { return strings.HasSuffix(folded, end) })
}

// byKey looks for a key and, with Legacy, for the same with the id as it was sent: in regular uploads first, then, if included, in try
// uploads.
func (f *Finder) byKey(ctx context.Context, key symbol.Key, q Query) (Found, error) {
	locations := []upload.Location{{Key: key}}
	if sent := key.AsSent(q.ID); f.Legacy && sent != key {
		locations = append(locations, upload.Location{Key: sent})
	}
	if q.Try {
		for _, loc := range locations {
			locations = append(locations, upload.Location{Key: loc.Key, Try: true})
		}
	}
	for _, loc := range locations {
		_, err := f.stat(ctx, loc, q.Refresh)
		if err == nil {
			return Found{Location: loc}, nil
		}
		if !errors.Is(err, upload.ErrNotFound) {
			return Found{}, err
		}
	}
	return Found{}, fmt.Errorf("look up %s: %w", key, upload.ErrNotFound)
}

// stat describes the object at loc.
func (f *Finder) stat(ctx context.Context, loc upload.Location, refresh bool) (upload.Object, error) {
	return f.objects.get(ctx, cacheKey(loc), refresh, func(ctx context.Context) (obj upload.Object, err error) {
		err = f.lookups.use(ctx, func(ctx context.Context) error {
			obj, err = f.Storage.Stat(ctx, loc)
			return err
		})
		return obj, err
	})
}

// cacheKey is a string of its own: a part of a request's would keep all of that in memory.
func cacheKey(loc upload.Location) string {
	if loc.Try {
		return "try/" + loc.Key.String()
	}
	return "reg/" + loc.Key.String()
}

// slots bound the simultaneous work of a kind.
type slots chan struct{}

// use calls fn in a slot, within lookupTimeout.
func (s slots) use(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookupTimeout, errSlow)
	defer cancel()
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.leave()
	return because(ctx, fn(ctx))
}

// because adds the cause of ctx's end, if any, to an error.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
}

func (s slots) leave() { <-s }
