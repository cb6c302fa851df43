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
	// lookupTimeout bounds one call to storage or to the records, waiting for its place included. A debugger waits
	// for it, and asks elsewhere then.
	lookupTimeout = 8 * time.Second
	// spellingTimeout bounds a look for other spellings of a name that storage can answer for alone, waiting for its place
	// included, and recordsPause is for how long none is begun after one that failed: while the database is down or hangs,
	// debuggers must not wait for each of many files that do not exist.
	spellingTimeout = 2 * time.Second
	recordsPause    = 10 * time.Second
	// maxAnswers bounds what is remembered of each kind. An answer takes about 300 bytes, 1 KiB at most.
	maxAnswers = 50_000
)

// Bounds of what is under way at a time.
const (
	// Lookups is the most calls to storage that look whether an object is there.
	Lookups = 64
	// Looks is the most contents that are looked into: to tell what they are, not to be sent.
	Looks = 32
	// MaxQueries is the most calls to the records.
	MaxQueries = 4
)

// errSlow is the cause of a call that took too long.
var errSlow = fmt.Errorf("%w: it took too long", upload.ErrUnavailable)

// Storage is where symbol files are. The methods are as of upload.Storage: safe for concurrent use, ended soon after
// their contexts, failing with upload.ErrNotFound or upload.ErrUnavailable.
type Storage interface {
	// Stat describes the object at loc.
	Stat(ctx context.Context, loc upload.Location) (upload.Object, error)
	// OpenContent opens the object at loc as it is stored, still compressed where its description says so.
	OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error)
}

// Config is what a Finder works with.
type Config struct {
	Storage Storage
	Records Records
	// Extensions are the ends of the names that are looked for, in any case; without any, all names are.
	Extensions []string
	// Legacy lets a lookup that misses look once more with the id as it was sent.
	Legacy bool
	// Queries is the most calls to the records at a time; unless positive, and at most, 4.
	Queries int
	// Observe is called at each lookup; it does not block. kind is "symbol", "spelling", "module", "binary" or "size".
	// err is nil, wraps upload.ErrNotFound, or is a failure.
	Observe func(kind string, cached bool, elapsed time.Duration, err error)
}

// A Finder finds symbol files. It is safe for concurrent use.
type Finder struct {
	Config
	objects   *cache[upload.Object]
	spellings *cache[[]symbol.Key]
	modules   *cache[catalogue.Module]
	// binaries remembers where those of a build id are.
	binaries *cache[upload.Location]
	// sizes remembers how many bytes gzip files have once inflated.
	sizes *cache[int64]

	lookups, looks, queries, measuring places
	// away is until when the records are taken to be away, in Unix nanoseconds.
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
		lookups:   make(places, Lookups),
		looks:     make(places, Looks),
		queries:   make(places, c.Queries),
		measuring: make(places, measures),
	}
}

// Len returns how many answers are remembered.
func (f *Finder) Len() int {
	return f.objects.len() + f.spellings.len() + f.modules.len() + f.binaries.len() + f.sizes.len()
}

// A Query is what a client asks for: the three components of a key, decoded, in the case they were sent.
type Query struct {
	File, ID, Name string
	Try            bool // look among try uploads as well, after regular ones
	Refresh        bool // believe nothing that is remembered
}

// key returns the key that is asked for, composed (NFC) as it is stored. What can't be a key is not found.
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

// Found is a file that is in storage.
type Found struct {
	Location upload.Location
	// Moved tells that its key is another than the one asked for: its name is spelled in another case, or it was found by its
	// code id.
	Moved bool
	// binary is what it has to be; nil: whatever is there.
	binary *wanted
}

// IsBinary reports whether the file was found by an identity in its content. It is to be sent from here, inflated unless its reader
// takes gzip: the client does not know how it is stored.
func (f Found) IsBinary() bool { return f.binary != nil }

// Find finds the symbol file that q asks for. Where there is none of that key, the records lead to one with names in another
// case or, for a .sym, to the one with that code file and id. An id of SSQP's leads to the binary that it names.
//
// It fails with upload.ErrNotFound or upload.ErrUnavailable, or the cause of ctx. While the records are away, storage alone
// answers; but not for what may be a code id, of which it knows nothing.
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

// isWanted reports whether a name has one of the extensions that are looked for.
func (f *Finder) isWanted(name string) bool {
	if len(f.Extensions) == 0 {
		return true
	}
	folded := symbol.Fold(name)
	return slices.ContainsFunc(f.Extensions, func(end string) bool { return strings.HasSuffix(folded, end) })
}

// byKey looks for a key and, where such are kept, for the same with the id as it was sent: regular first, then of try
// uploads where that is asked for.
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

// places bound how much of a kind is under way.
type places chan struct{}

// use calls fn in a place, within lookupTimeout.
func (p places) use(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookupTimeout, errSlow)
	defer cancel()
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.leave()
	return because(ctx, fn(ctx))
}

// because adds to an error why ctx has ended, if it has.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func (p places) take(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a place: %w", context.Cause(ctx))
	}
}

func (p places) leave() { <-p }
