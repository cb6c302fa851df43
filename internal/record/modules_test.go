package record_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/download"
	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

var _ download.Records = (*record.Store)(nil)

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
		finished(t, s, tok, true, symFile(t, "xul.pdb/AA2/xul.sym", "xul.dll", "C1", upload.FileUploaded))
		finished(t, s, tok, false,
			symFile(t, "xul.pdb/AA1/xul.sym", "xul.dll", "C1", upload.FileSkipped),
			symFile(t, "xul.pdb/AA3/xul.sym", "xul.dll", "C1", upload.FileUploaded))
		for _, c := range []struct {
			q    download.ModuleQuery
			want []string
		}{
			{download.ModuleQuery{CodeFile: "xul.dll", CodeID: "C1"}, []string{"xul.pdb/AA3/xul.sym", "xul.pdb/AA1/xul.sym"}},
			{download.ModuleQuery{CodeFile: "xul.dll", CodeID: "C1", Try: true}, []string{"xul.pdb/AA2/xul.sym"}},
			{download.ModuleQuery{CodeID: "C1"}, []string{"xul.pdb/AA3/xul.sym", "xul.pdb/AA1/xul.sym"}},
			{download.ModuleQuery{CodeFile: "libxul.so", CodeID: "C2"}, []string{"libxul.so/BB1/libxul.so.sym"}},
			{download.ModuleQuery{CodeFile: "other.so", CodeID: "C2"}, nil},
			{download.ModuleQuery{CodeFile: "gone.dll", CodeID: "C3"}, nil},
			{download.ModuleQuery{CodeFile: "xul.dll", CodeID: "C"}, nil},
			{download.ModuleQuery{DebugFile: "xul.pdb", DebugID: "AA1"}, []string{"xul.pdb/AA1/xul.sym"}},
			{download.ModuleQuery{DebugFile: "xul.pdb", DebugID: "AA2"}, nil},
			{download.ModuleQuery{DebugFile: "xul.pdb", DebugID: "AA2", Try: true}, []string{"xul.pdb/AA2/xul.sym"}},
		} {
			found, err := s.Modules(t.Context(), c.q)
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, m := range found {
				keys = append(keys, m.Key.String())
			}
			if diff := cmp.Diff(c.want, keys); diff != "" {
				t.Errorf("%+v (-want +got)\n%s", c.q, diff)
			}
		}
		found, err := s.Modules(t.Context(), download.ModuleQuery{CodeID: "C2"})
		want := []download.Module{{Key: mustKey(t, "libxul.so/BB1/libxul.so.sym"), DebugFile: "libxul.so", DebugID: "BB1", CodeID: "C2", Generator: "dump_syms 2"}}
		if diff := cmp.Diff(want, found, cmp.AllowUnexported(symbol.Key{})); err != nil || diff != "" {
			t.Errorf("%v (-want +got)\n%s", err, diff)
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

func moduleFiles(t *testing.T, s *record.Store, debugFile, debugID string, try bool) (names []string) {
	t.Helper()
	keys, err := s.ModuleFiles(t.Context(), debugFile, debugID, try)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		names = append(names, key.String())
	}
	return names
}

// What is uploaded again and again does not hide what was uploaded once.
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

// A module that was uploaded with each build is found by an index, and its number of uploads does not matter.
func TestModulesUseTheirIndexes(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		var files []upload.File
		for i := range 500 {
			files = append(files, symFile(t, fmt.Sprintf("app%d/A%d/app.sym", i%50, i), "", fmt.Sprintf("C%d", i), upload.FileUploaded))
		}
		finished(t, s, tok, false, files...)
		explain := "EXPLAIN "
		if strings.HasPrefix(url, "sqlite:") {
			explain = "EXPLAIN QUERY PLAN "
		} else {
			exec(t, s, "ANALYZE files")
		}
		for query, index := range record.ModuleQueries() {
			rows, err := s.DB().QueryContext(t.Context(), explain+query)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			var plan strings.Builder
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				values := make([]any, len(columns))
				for i := range values {
					values[i] = new(any)
				}
				if err := rows.Scan(values...); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&plan, *values[len(values)-1].(*any))
			}
			rows.Close()
			if !strings.Contains(plan.String(), index) {
				t.Errorf("%s\nuses not %s:\n%s", query, index, &plan)
			}
		}
	})
}
