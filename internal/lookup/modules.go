package lookup

import (
	"context"
	"fmt"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
)

// Records knows what was uploaded. Implementations are safe for concurrent use; while the database is unreachable or busy, methods return
// an error wrapping upload.ErrUnavailable. Each returns a few keys at most, the last uploaded first; none is no error.
type Records interface {
	// Spellings returns the keys that q may mean: of regular uploads first; in each, spellings of its key before the .sym of a code id.
	Spellings(ctx context.Context, q catalogue.SpellingQuery) ([]symbol.Key, error)
	// Module returns the module of a debug file and id, or a code file and id, the file in any case: of regular uploads, else of try
	// uploads. It fails with upload.ErrNotFound.
	Module(ctx context.Context, file, id string) (catalogue.Module, error)
	// Builds returns the keys of the .sym with code ids from first to last, in the order of their texts.
	Builds(ctx context.Context, first, last string, try bool) ([]symbol.Key, error)
	// ModuleFiles returns the keys of the files uploaded for a module, or for all modules of that debug id if debugFile is empty.
	ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) ([]symbol.Key, error)
}

// Module returns the module with that file and id, of its debug information or its code: of a regular upload, else of a try upload. It
// fails like Find.
func (f *Finder) Module(ctx context.Context, q Query) (catalogue.Module, error) {
	q.Name = "x.sym"
	key, err := q.key()
	if err != nil {
		return catalogue.Module{}, err
	}
	file, id := key.DebugFile(), key.DebugID()
	return f.modules.get(ctx, fmt.Sprintf("%s/%s", file, id), q.Refresh, func(ctx context.Context) (m catalogue.Module, err error) {
		err = f.queries.use(ctx, func(ctx context.Context) error {
			m, err = f.Records.Module(ctx, file, id)
			return err
		})
		return m, err
	})
}
