package record_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/lookup"
	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

var _ lookup.Records = (*record.Store)(nil)

// finished records an upload of files.
func finished(t *testing.T, s *record.Store, tok upload.Token, try bool, files ...upload.File) {
	t.Helper()
	u := begun(t, s, tok)
	u.Try, u.Outcome, u.Files = try, upload.Completed, files
	if err := s.Finish(t.Context(), &u); err != nil {
		t.Fatal(err)
	}
}

// symFile is a .sym that was uploaded, of a module with a code id.
func symFile(t *testing.T, key, codeFile, codeID string, state upload.FileState) upload.File {
	k := mustKey(t, key)
	return upload.File{Name: key, Key: k, State: state, Header: symbol.Header{
		OS: "Linux", DebugFile: k.DebugFile(), DebugID: k.DebugID(), CodeFile: codeFile, CodeID: codeID, Generator: "dump_syms 2",
	}}
}

func TestModules(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		finished(t, s, tok, false,
			symFile(t, "xul.pdb/AA1/xul.sym", "xul.dll", "C1", upload.FileUploaded),
			symFile(t, "libxul.so/BB1/libxul.so.sym", "", "C2", upload.FileSkipped),
			symFile(t, "gone.pdb/DD1/gone.sym", "gone.dll", "C3", upload.FilePending),
			upload.File{Name: "xul.pdb/AA1/xul.pd_", Key: mustKey(t, "xul.pdb/AA1/xul.pd_"), State: upload.FileUploaded},
		)
		finished(t, s, tok, true, symFile(t, "xul.pdb/AA2/xul.sym", "xul.dll", "C4", upload.FileUploaded))
		finished(t, s, tok, false,
			symFile(t, "xul.pdb/AA1/xul.sym", "xul.dll", "C1", upload.FileSkipped),
			symFile(t, "xul.pdb/AA3/xul.sym", "xul.dll", "C1", upload.FileUploaded))
		for _, c := range []struct {
			file, id string
			want     string // its key; "": none
			try      bool
		}{
			{"xul.dll", "C1", "xul.pdb/AA3/xul.sym", false},
			{"XUL.DLL", "C1", "xul.pdb/AA3/xul.sym", false},
			{"libxul.so", "C2", "libxul.so/BB1/libxul.so.sym", false},
			{"other.so", "C2", "", false},
			{"gone.dll", "C3", "", false},
			{"xul.dll", "C", "", false},
			{"xul.pdb", "AA1", "xul.pdb/AA1/xul.sym", false},
			{"Xul.PDB", "AA1", "xul.pdb/AA1/xul.sym", false},
			{"xul.pdb", "AA2", "xul.pdb/AA2/xul.sym", true},
			{"xul.dll", "C4", "xul.pdb/AA2/xul.sym", true},
			{"xul2.pdb", "AA1", "", false},
		} {
			m, err := s.Module(t.Context(), c.file, c.id)
			if c.want == "" {
				wantErr(t, "Module", err, upload.ErrNotFound)
			} else if err != nil || m.Key.String() != c.want || m.Try != c.try {
				t.Errorf("module %s %s: %s, try %t (%v), want %s, try %t", c.file, c.id, m.Key, m.Try, err, c.want, c.try)
			}
		}
		m, err := s.Module(t.Context(), "libxul.so", "C2")
		want := catalogue.Module{Key: mustKey(t, "libxul.so/BB1/libxul.so.sym"), DebugFile: "libxul.so", DebugID: "BB1", CodeID: "C2", Generator: "dump_syms 2"}
		if diff := cmp.Diff(want, m, cmp.AllowUnexported(symbol.Key{})); err != nil || diff != "" {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
		for _, c := range []struct {
			first, last string
			try         bool
			want        []string
		}{
			{"C1", "C1", false, []string{"xul.pdb/AA3/xul.sym", "xul.pdb/AA1/xul.sym"}},
			{"C1", "C2", false, []string{"libxul.so/BB1/libxul.so.sym", "xul.pdb/AA3/xul.sym", "xul.pdb/AA1/xul.sym"}},
			{"C1", "C1", true, nil},
			{"C4", "C400", true, []string{"xul.pdb/AA2/xul.sym"}},
			{"C40", "C400", true, nil},
		} {
			keys, err := s.Builds(t.Context(), c.first, c.last, c.try)
			if got := names(keys); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("builds %s to %s, try %t: %q (%v), want %q", c.first, c.last, c.try, got, err, c.want)
			}
		}
		for _, c := range []struct {
			debugFile, debugID string
			try                bool
			want               []string
		}{
			{"xul.pdb", "AA1", false, []string{"xul.pdb/AA1/xul.sym", "xul.pdb/AA1/xul.pd_"}},
			{"", "AA1", false, []string{"xul.pdb/AA1/xul.sym", "xul.pdb/AA1/xul.pd_"}},
			{"xul.pdb", "AA1", true, nil},
			{"", "AA2", false, nil},
			{"", "AA2", true, []string{"xul.pdb/AA2/xul.sym"}},
			{"", "DD1", false, nil},
			{"", "AA", false, nil},
		} {
			if got := moduleFiles(t, s, c.debugFile, c.debugID, c.try); !slices.Equal(got, c.want) {
				t.Errorf("files of %q %s, try %t: %q, want %q", c.debugFile, c.debugID, c.try, got, c.want)
			}
		}
	})
}

func moduleFiles(t *testing.T, s *record.Store, debugFile, debugID string, try bool) []string {
	t.Helper()
	keys, err := s.ModuleFiles(t.Context(), debugFile, debugID, try)
	if err != nil {
		t.Fatal(err)
	}
	return names(keys)
}

// names are those of keys.
func names(keys []symbol.Key) (names []string) {
	for _, key := range keys {
		names = append(names, key.String())
	}
	return names
}

// Files that are uploaded again and again do not hide one that was uploaded once.
func TestAFileThatWasUploadedLongBefore(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		const once, again = "app/AA1/app.dbg.gz", "app/AA1/app.sym"
		files := []upload.File{{Name: once, Key: mustKey(t, once), State: upload.FileUploaded}}
		for range 200 {
			files = append(files, symFile(t, again, "", "C1", upload.FileSkipped))
		}
		finished(t, s, tok, false, files...)
		for _, debugFile := range []string{"app", ""} {
			if got, want := moduleFiles(t, s, debugFile, "AA1", false), []string{again, once}; !slices.Equal(got, want) {
				t.Errorf("of %q: %q, want %q", debugFile, got, want)
			}
		}
	})
}

// askLookups runs all queries of lookups.
func askLookups(t *testing.T, s *record.Store) {
	t.Helper()
	key := mustKey(t, "app7.so/A7/app7.SYM")
	for _, try := range []bool{false, true} {
		for _, code := range []bool{false, true} {
			if _, err := s.Spellings(t.Context(), catalogue.SpellingQuery{Key: key, CodeID: code, Try: try}); err != nil {
				t.Fatal(err)
			}
		}
		for _, last := range []string{"C7", "C7000"} {
			if _, err := s.Builds(t.Context(), "C7", last, try); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Module(t.Context(), "app7.so", "A7"); err != nil {
		t.Fatal(err)
	}
}

// withLookups records 500 modules, in regular and in try uploads.
func withLookups(t *testing.T, url string) *record.Store {
	t.Helper()
	s := openMigrated(t, url, record.Options{})
	tok := newToken(t, s)
	for i := range 20 {
		var files []upload.File
		for j := range 25 {
			n := i*25 + j
			files = append(files, symFile(t, fmt.Sprintf("app%d.so/A%d/app%d.so.sym", n, n, n), "", fmt.Sprintf("C%d", n), upload.FileUploaded))
		}
		finished(t, s, tok, i%4 == 0, files...)
	}
	return s
}

// Each lookup is one statement that uses indexes alone, and sorts nothing.
func TestLookupsAreServedByIndexes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := withLookups(t, url)
		explain := explainSQLite
		if strings.HasPrefix(url, "postgres") {
			explain = explainPostgres
		}
		conn, err := raw(t, s).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var statements []statement
		s.Trace = func(query string, args []any) { statements = append(statements, statement{query, args}) }
		askLookups(t, s)
		s.Trace = nil
		if len(statements) != 9 {
			t.Errorf("%d statements", len(statements))
		}
		for _, analyzed := range []bool{false, true} {
			for _, st := range statements {
				explain(t, conn, "a lookup", st)
			}
			if !analyzed {
				if _, err := conn.ExecContext(t.Context(), `ANALYZE`); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A module that was uploaded with each build is found by an index, for any number of uploads.
func TestModuleFilesUseTheirIndexes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := withLookups(t, url)
		explain, columns := "EXPLAIN ", 1
		if strings.HasPrefix(url, "sqlite:") {
			explain, columns = "EXPLAIN QUERY PLAN ", 4
		} else {
			exec(t, s, "ANALYZE files")
		}
		conn, err := raw(t, s).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for debugFile, index := range map[string]string{"app7.so": "files_debug_id", "": "files_any_debug_id"} {
			s.Trace = func(query string, args []any) {
				if plan := lines(t, conn, columns, explain+query, args...); !strings.Contains(plan, index) {
					t.Errorf("%s\nuses not %s:\n%s", query, index, plan)
				}
			}
			if keys := moduleFiles(t, s, debugFile, "A7", true); len(keys) != 1 {
				t.Errorf("files of %q: %v", debugFile, keys)
			}
		}
	})
}

// A reading keeps to its own connection: one that takes a second waits for ever once all are taken.
func TestReadingsTakeOneConnection(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{MaxConns: 1})
		finished(t, s, newToken(t, s), false, symFile(t, "a.so/AA/a.so.sym", "", "CC", upload.FileUploaded))
		if keys := moduleFiles(t, s, "a.so", "AA", false); len(keys) != 1 {
			t.Errorf("files of the module: %v", keys)
		}
		if u, err := s.Status(t.Context(), 1); err != nil || len(u.Files) != 1 {
			t.Errorf("status: %+v (%v)", u, err)
		}
	})
}
