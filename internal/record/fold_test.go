package record_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// wantSpellings compares the keys that a query may mean.
func wantSpellings(t *testing.T, s *record.Store, q catalogue.SpellingQuery, want ...string) {
	t.Helper()
	keys, err := s.Spellings(t.Context(), q)
	if got := names(keys); err != nil || !slices.Equal(got, want) {
		t.Errorf("%s, code id %t, try %t: %q (%v), want %q", q.Key, q.CodeID, q.Try, got, err, want)
	}
}

func TestSpellings(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		stored := func(key string) upload.File {
			return upload.File{Name: key, Key: mustKey(t, key), State: upload.FileUploaded}
		}
		finished(t, s, tok, false, stored("App.pdb/AA1/App.PDB"), symFile(t, "App.pdb/AA1/App.sym", "App.dll", "C1", upload.FileSkipped))
		finished(t, s, tok, false, stored("APP.pdb/AA1/app.pdb"), symFile(t, "gone.pdb/AA2/gone.sym", "App.dll", "C1", upload.FilePending))
		finished(t, s, tok, true, stored("aPP.pdb/AA1/aPP.pdb"), symFile(t, "App.pdb/AA3/App.sym", "", "C1", upload.FileUploaded), symFile(t, "lib.so/AA4/lib.so.sym", "", "C2", upload.FileUploaded))
		finished(t, s, tok, false, upload.File{Name: "app.pdb/AA1/app.pdb", State: upload.FileIgnored}, symFile(t, "C.exe/C3/C.sym", "C.exe", "C3", upload.FileUploaded))
		for _, c := range []struct {
			key       string
			code, try bool
			want      []string
		}{
			{"app.pdb/AA1/app.pdb", false, false, []string{"APP.pdb/AA1/app.pdb", "App.pdb/AA1/App.PDB"}},
			{"app.pdb/AA1/app.pdb", false, true, []string{"APP.pdb/AA1/app.pdb", "App.pdb/AA1/App.PDB", "aPP.pdb/AA1/aPP.pdb"}},
			{"app.pdb/AA2/app.pdb", false, true, nil},
			{"app.pdb/AA1/app.pd", false, true, nil},
			{"APP.PDB/AA1/APP.SYM", true, false, []string{"App.pdb/AA1/App.sym"}},
			{"app.DLL/C1/app.sym", false, false, nil},
			{"app.DLL/C1/app.sym", true, false, []string{"App.pdb/AA1/App.sym"}},
			{"App.dll/C1/other.sym", true, true, []string{"App.pdb/AA1/App.sym"}},
			{"app.pdb/C1/app.sym", true, true, []string{"App.pdb/AA3/App.sym"}},
			{"app.pdb/C1/app.sym", true, false, nil},
			{"LIB.so/C2/LIB.so.sym", true, true, []string{"lib.so/AA4/lib.so.sym"}},
			{"c.exe/C3/c.sym", true, false, []string{"C.exe/C3/C.sym"}},
		} {
			wantSpellings(t, s, catalogue.SpellingQuery{Key: mustKey(t, c.key), CodeID: c.code, Try: c.try}, c.want...)
		}
	})
}

// A file that is uploaded often is one key; and there are few keys.
func TestSpellingsAreFew(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		for i := range 5 {
			var files []upload.File
			for range 10 {
				files = append(files, symFile(t, fmt.Sprintf("app/AA1/%s.sym", "apps"[:3]+strings.Repeat("s", i%2)), "", "C1", upload.FileSkipped),
					symFile(t, fmt.Sprintf("A%sP/AA1/x.sym", strings.Repeat("p", i)), "", fmt.Sprintf("D%d", i), upload.FileSkipped))
			}
			finished(t, s, tok, false, files...)
		}
		wantSpellings(t, s, catalogue.SpellingQuery{Key: mustKey(t, "app/C1/y.sym"), CodeID: true}, "app/AA1/app.sym", "app/AA1/apps.sym")
		var files []upload.File
		for _, name := range []string{"Xy", "xY", "XY", "xy", "Xy"} {
			files = append(files, symFile(t, name+"/BB1/x.sym", "", "", upload.FileUploaded))
		}
		finished(t, s, tok, false, files...)
		wantSpellings(t, s, catalogue.SpellingQuery{Key: mustKey(t, "xy/BB1/X.sym")}, "Xy/BB1/x.sym", "xy/BB1/x.sym", "XY/BB1/x.sym", "xY/BB1/x.sym")
	})
}

// recordedBefore makes records like a version that did not fold names.
func recordedBefore(t *testing.T, s *record.Store, uploadID, files int) {
	t.Helper()
	for i := range files {
		exec(t, s, fmt.Sprintf(`
			INSERT INTO files (upload_id, position, name, debug_file, debug_id, file, state, size, stored_size, module_debug_id, code_file, code_id)
			VALUES (%d, %d, 'n', 'App%d.pdb', 'AA%d', 'App.sym', 'uploaded', 9, 5, 'AA%d', CASE %d WHEN 0 THEN 'App.dll' END, 'C%d')`,
			uploadID, 1000+i, i, i, i, i%2, i))
	}
	exec(t, s, fmt.Sprintf(`INSERT INTO files (upload_id, position, name, state, size, stored_size) VALUES (%d, 1, 'ignored', 'ignored', 9, 0)`, uploadID))
}

// Records of older versions are found by their own names at once, and in any case once folded: by several instances at once, and again
// while an older instance goes on recording.
func TestRecordsOfOlderVersionsAreFolded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		const files = 1203 // more than two transactions
		old := migratedTo(t, url, 8)
		recordedBefore(t, old, 1, files)
		s, other := openMigrated(t, url, record.Options{}), openMigrated(t, url, record.Options{})
		byCode := func(key string) catalogue.SpellingQuery {
			return catalogue.SpellingQuery{Key: mustKey(t, key), CodeID: true}
		}
		wantSpellings(t, s, byCode("App.dll/C6/App.sym"), "App6.pdb/AA6/App.sym")
		wantSpellings(t, s, byCode("App7.pdb/C7/App.sym"), "App7.pdb/AA7/App.sym")
		wantSpellings(t, s, byCode("app.dll/C6/App.sym"))
		wantSpellings(t, s, byCode("app6.pdb/AA6/app.sym"))

		folded := make(chan int, 2)
		for _, s := range []*record.Store{s, other} {
			go func() {
				n, err := s.Fold(t.Context())
				if err != nil {
					t.Error(err)
				}
				folded <- n
			}()
		}
		if n := <-folded + <-folded; n != files+2 { // including migratedTo's
			t.Errorf("%d files were folded, want %d", n, files+2)
		}
		for _, key := range []string{"app.dll/C6/APP.sym", "app6.pdb/AA6/APP.sym"} {
			wantSpellings(t, s, byCode(key), "App6.pdb/AA6/App.sym")
		}
		wantSpellings(t, s, byCode("app7.pdb/C7/App.sym"), "App7.pdb/AA7/App.sym")
		wantSpellings(t, s, byCode(fmt.Sprintf("app%d.pdb/AA%d/APP.sym", files-1, files-1)), fmt.Sprintf("App%d.pdb/AA%d/App.sym", files-1, files-1))

		recordedBefore(t, old, 2, 1)
		for _, want := range []int{1, 0} {
			if n, err := s.Fold(t.Context()); n != want || err != nil {
				t.Errorf("%d files were folded (%v), want %d", n, err, want)
			}
		}
		if left := column(t, s, `SELECT id FROM files WHERE (folded_key IS NULL) <> (debug_file IS NULL)`); len(left) != 0 {
			t.Errorf("not folded, or folded though ignored: %v", left)
		}
	})
}

// It ends with its context, without a fault.
func TestFoldingIsCutOff(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		recordedBefore(t, migratedTo(t, url, 8), 1, 1)
		s := openMigrated(t, url, record.Options{})
		ended, end := context.WithCancel(t.Context())
		end()
		if n, err := s.Fold(ended); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d files were folded, %v", n, err)
		}
		if err := s.RunFolding(ended, func(err error) { t.Errorf("a fault: %v", err) }); err != nil {
			t.Error(err)
		}
		if n, err := s.Fold(t.Context()); n != 3 || err != nil {
			t.Errorf("%d files were folded (%v)", n, err)
		}
	})
}
