package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// debugIDLen is the length of a debug id with an age of one digit, as nearly all have. No code id has it: those of Windows are shorter,
// build ids have an even number of digits.
const debugIDLen = 33

// errAway is the error of a query that is not made because the records failed a moment ago.
var errAway = fmt.Errorf("%w: the records failed a moment ago", upload.ErrUnavailable)

// elsewhere finds a file that is not stored under the requested key.
func (f *Finder) elsewhere(ctx context.Context, asked symbol.Key, q Query) (Found, error) {
	keys, err := f.spelled(ctx, catalogue.SpellingQuery{Key: asked, CodeID: asked.IsSym() && len(q.ID) != debugIDLen, Try: q.Try}, q.Refresh)
	if err != nil {
		return Found{}, err
	}
	for _, key := range keys {
		for _, key := range addresses(asked, key) {
			found, err := f.byKey(ctx, key, Query{ID: key.DebugID(), Try: q.Try, Refresh: q.Refresh})
			if err == nil {
				found.Moved = true
				return found, nil
			}
			if !errors.Is(err, upload.ErrNotFound) {
				return Found{}, err
			}
		}
	}
	return Found{}, fmt.Errorf("look up what is recorded for %s: %w", asked, upload.ErrNotFound)
}

// addresses returns the keys to try for a recorded key: that key and, before it, the same with the requested file name. A module found by
// its code id may have several .sym, with other names than its own.
func addresses(asked, recorded symbol.Key) (keys []symbol.Key) {
	if symbol.Fold(asked.File()) != symbol.Fold(recorded.File()) {
		key, err := symbol.NewKey(recorded.DebugFile(), recorded.DebugID(), asked.File())
		if err == nil && key != asked {
			keys = append(keys, key)
		}
	}
	if recorded != asked {
		keys = append(keys, recorded)
	}
	return keys
}

// spelled returns the keys that q may mean, at least one.
func (f *Finder) spelled(ctx context.Context, q catalogue.SpellingQuery, refresh bool) ([]symbol.Key, error) {
	alone := !q.CodeID // storage can answer alone
	keys, err := f.spellings.get(ctx, fmt.Sprintf("%s %t", q.Key, q.Try), refresh, func(ctx context.Context) ([]symbol.Key, error) {
		if !alone {
			return f.readSpellings(ctx, q)
		}
		if time.Now().UnixNano() < f.away.Load() {
			return nil, errAway
		}
		ctx, cancel := context.WithTimeoutCause(ctx, spellingTimeout, errSlow)
		defer cancel()
		return f.readSpellings(ctx, q)
	})
	if alone && errors.Is(err, upload.ErrUnavailable) {
		err = fmt.Errorf("look up %s in storage alone: %w (%v)", q.Key, upload.ErrNotFound, err) //nolint:errorlint // of one kind only
	}
	return keys, err
}

// readSpellings reads the present keys.
func (f *Finder) readSpellings(ctx context.Context, q catalogue.SpellingQuery) (keys []symbol.Key, err error) {
	err = f.queries.use(ctx, func(ctx context.Context) error {
		keys, err = f.Records.Spellings(ctx, q)
		return err
	})
	switch {
	case errors.Is(err, upload.ErrUnavailable):
		f.away.Store(time.Now().Add(recordsPause).UnixNano())
	case err == nil:
		f.away.Store(0)
		if len(keys) == 0 {
			err = fmt.Errorf("look up %s in any spelling: %w", q.Key, upload.ErrNotFound)
		}
	}
	return keys, err
}
