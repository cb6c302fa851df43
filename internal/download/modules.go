package download

import (
	"context"
	"errors"
	"fmt"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// debugIDLen is how long a debug id is with an age of one digit, as nearly all are. No code id is: of Windows's they
// are shorter, build ids have an even number of digits.
const debugIDLen = 33

// Records knows which modules were uploaded. Implementations are safe for concurrent use; a method that fails because
// the database is unreachable or busy returns an error wrapping upload.ErrUnavailable.
type Records interface {
	// Modules returns the modules that q asks for, those uploaded last first, a few at most; none is no error.
	Modules(ctx context.Context, q ModuleQuery) ([]Module, error)
	// ModuleFiles returns the keys of the files that were uploaded for a module, or for all modules of that debug id where
	// debugFile is empty, of try uploads where try says so; a few at most, those uploaded last first.
	ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) ([]symbol.Key, error)
}

// A ModuleQuery says which modules are wanted: by code id, by that and the code file, or by debug file and debug id.
// Ids are in upper case.
type ModuleQuery struct {
	CodeFile, CodeID   string // CodeFile may be empty: of any name
	DebugFile, DebugID string
	Try                bool // of try uploads; false: of regular ones
}

// A Module is what the header of a .sym says of the binary it was made of, and the key that the .sym is stored under.
type Module struct {
	Key                                             symbol.Key
	DebugFile, DebugID, CodeFile, CodeID, Generator string
}

// Module returns what is known of the module with that file and id, of its debug information or of its code. It
// fails as Find does.
func (f *Finder) Module(ctx context.Context, q Query) (Module, error) {
	q.Name = "x.sym"
	key, err := q.key()
	if err != nil {
		return Module{}, err
	}
	byDebug := ModuleQuery{DebugFile: key.DebugFile(), DebugID: key.DebugID()}
	byCode := ModuleQuery{CodeFile: key.DebugFile(), CodeID: key.DebugID()}
	for _, mq := range []ModuleQuery{byDebug, byCode} {
		found, err := f.recorded(ctx, mq, q)
		if err == nil {
			return found[0], nil
		}
		if !errors.Is(err, upload.ErrNotFound) {
			return Module{}, err
		}
	}
	return Module{}, fmt.Errorf("look up module %s %s: %w", key.DebugFile(), key.DebugID(), upload.ErrNotFound)
}

// byCode finds a .sym whose key was made of code file and code id.
func (f *Finder) byCode(ctx context.Context, asked symbol.Key, q Query) (Found, error) {
	missing := fmt.Errorf("look up code id %s: %w", asked, upload.ErrNotFound)
	modules, err := f.recorded(ctx, ModuleQuery{CodeFile: asked.DebugFile(), CodeID: asked.DebugID()}, q)
	if err != nil {
		return Found{}, err
	}
	for _, m := range modules {
		// Its .sym may have another name than the one asked for: that of the .pdb instead of the .dll.
		for _, name := range []string{asked.File(), m.Key.File()} {
			key, err := symbol.NewKey(m.Key.DebugFile(), m.Key.DebugID(), name)
			if err != nil || key == asked {
				continue
			}
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
	return Found{}, missing
}

// recorded returns the modules that mq asks for, at least one: of regular uploads or, where q asks for these, of try
// uploads.
func (f *Finder) recorded(ctx context.Context, mq ModuleQuery, q Query) ([]Module, error) {
	modules, err := f.recordedIn(ctx, mq, q.Refresh)
	if q.Try && errors.Is(err, upload.ErrNotFound) {
		mq.Try = true
		modules, err = f.recordedIn(ctx, mq, q.Refresh)
	}
	return modules, err
}

func (f *Finder) recordedIn(ctx context.Context, mq ModuleQuery, refresh bool) ([]Module, error) {
	key := fmt.Sprintf("%s/%s/%s/%s/%t", mq.CodeFile, mq.CodeID, mq.DebugFile, mq.DebugID, mq.Try)
	return f.modules.get(ctx, key, refresh, func(ctx context.Context) ([]Module, error) {
		found, err := f.readModules(ctx, mq)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("look up module %s: %w", key, upload.ErrNotFound)
		}
		return found, err
	})
}

// readModules reads which modules are recorded now.
func (f *Finder) readModules(ctx context.Context, mq ModuleQuery) (found []Module, err error) {
	err = f.queries.use(ctx, func(ctx context.Context) error {
		found, err = f.Records.Modules(ctx, mq)
		return err
	})
	return found, err
}

// readFiles reads which files of a module are recorded now.
func (f *Finder) readFiles(ctx context.Context, debugFile, debugID string) (keys []symbol.Key, err error) {
	err = f.queries.use(ctx, func(ctx context.Context) error {
		keys, err = f.Records.ModuleFiles(ctx, debugFile, debugID, false)
		return err
	})
	return keys, err
}
