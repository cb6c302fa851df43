package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Each file in testdata is an archive to be made in every format. What stands above its members says how
// it fares: "ok", or the error.
func TestNames(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	must(t, err)
	if len(names) == 0 {
		t.Fatal("no fixtures")
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			fixture, err := txtar.ParseFile(name)
			must(t, err)
			var files []file
			for _, f := range fixture.Files {
				files = append(files, file{f.Name, string(f.Data)})
			}
			want := strings.TrimSpace(string(fixture.Comment))
			for _, format := range formats {
				data := build(t, format, files)
				if want == "ok" {
					if _, _, err := verify(t.Context(), data, roomy); err != nil {
						t.Errorf("%s: %v", format, err)
					}
				} else if got := rejected(t, data, roomy, ErrInvalid); got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", format, got, want)
				}
			}
		})
	}
}

const unrecognizedName = "Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. (First unrecognized pattern was '"

func TestBadNames(t *testing.T) {
	for _, name := range []string{
		"", "/", "a", "a/b", "a.sym", "a/A/b/c", "/a/A/a.sym", "//a/A", "a//a.sym", "a/A/", "../A/a.sym", "a/../a.sym", "a/A/..", "a/A/.",
		"./A/a.sym", ".//A/a.sym", "a/./A/a.sym", "/./a/A/a.sym", "./../a/A/a.sym", ".a/A/a.sym", "a/A/.a.sym", "a/A/a\x00.sym", "a/A/a\n.sym", "a/A/a\x7f.sym",
		"a/A/\xff.sym", "a/A/\u202e.sym", "a/0x12/a.sym", "a/G/a.sym", "a/A/a%2f.sym", "a/A/a:b|.sym", "C:/A/a.sym", "C:a.so/A/a.sym", `c:\\A\\a.sym`, "C:/A/a\".sym", "__MACOSX", "__MACOSX2/._/a",
		"-symbols.txt", "x/y-symbols.txt", "\x00-symbols.txt", "\xff-symbols.txt", "../.DS_Store", "/.DS_Store", "a//.DS_Store", "__MACOSX/../../a", "._a/A/a.sym",
		"a\x00/.DS_Store", "a/.DS_Store2", "a/.DS_Store/b", "a/Thumbs.db/", "a/A/Thumbs.db/b", strings.Repeat("n", 201) + "/A/a.sym", strings.Repeat("n", 70000),
		strings.Repeat("d/", 600) + ".DS_Store", strings.Repeat("n", 1100) + "-symbols.txt", `\a\A\a.sym`, `a\\A\a.sym`, `..\A\a.sym`, `a\A\b\c`,
	} {
		_, err := new(naming).locate(name, false)
		if err == nil {
			t.Errorf("%q is accepted", name)
			continue
		}
		if !strings.HasPrefix(err.Error(), unrecognizedName) || !strings.HasSuffix(err.Error(), "')") || len(err.Error()) > 1000 {
			t.Errorf("%q: %v", name, err)
		}
		if len(name) < 60000 && !strings.HasSuffix(name, "/") {
			data := makeZip([]*entry{stored("a/A/a.sym", "a"), stored(name, "")}, nil)
			rejected(t, data, roomy, ErrInvalid)
		}
	}
	for _, dir := range []string{"..", "../", "a/../", "a\x00/", "a//", "\xff/", strings.Repeat("d/", 600)} {
		if _, err := new(naming).locate(dir, true); err == nil {
			t.Errorf("directory %q is accepted", dir)
		}
	}
}

// The names that ordinary tools give to good members, and the names that these have for us.
func TestPlainNames(t *testing.T) {
	for sent, want := range map[string]string{
		"a/A/a.sym": "a/A/a.sym", "./a/A/a.sym": "a/A/a.sym", "././a/A/a.sym": "a/A/a.sym", "a/A/A.SYM": "a/A/A.SYM",
		`a\A\a.sym`: "a/A/a.sym", `.\a\A\a.sym`: "a/A/a.sym", "a/A/a\u0308.sym": "a/A/ä.sym", "微信/ab/微信.exe": "微信/ab/微信.exe",
	} {
		p, err := new(naming).locate(sent, false)
		if err != nil || p.name != want || p.role != roleSymbol {
			t.Errorf("%q: %+v, %v", sent, p, err)
		}
	}
}

// Backslashes are between components only where no name has a slash there.
func TestBackslashes(t *testing.T) {
	for _, names := range [][]string{
		{"a/A/a.sym", `b\B\b.sym`}, {`b\B\b.sym`, "a/A/a.sym"}, {`b\B\b.sym`, "x-symbols.txt", "b/"}, {`b\B\b.sym`, "./"}, {`a/A\a.sym`},
	} {
		var entries []*entry
		for _, name := range names {
			entries = append(entries, stored(name, ""))
		}
		got := rejected(t, makeZip(entries, nil), roomy, ErrInvalid)
		if !strings.HasPrefix(got, unrecognizedName) || !strings.Contains(got, "make the archive with one tool") {
			t.Errorf("%q: %s", names, got)
		}
	}
	data := makeZip([]*entry{stored(`firefox.pdb\`, ""), stored(`firefox.pdb\ab\firefox.sym`, symText), stored("x-symbols.txt", "x")}, nil)
	a, ms, err := verify(t.Context(), data, roomy)
	must(t, err)
	if got := contents(t, a)["firefox.pdb/ab/firefox.sym"]; len(ms) != 2 || got != symText {
		t.Errorf("%d members, %q", len(ms), got)
	}
}

func TestRoles(t *testing.T) {
	for name, want := range map[string]role{
		".DS_Store": roleLitter, "a/.DS_Store": roleLitter, "a/b/c/d/.DS_Store": roleLitter, "./a/A/.DS_Store": roleLitter,
		"__MACOSX/a": roleLitter, "__MACOSX/._a": roleLitter, "__MACOSX/a/A/._a.sym": roleLitter, "a/__MACOSX/A/b": roleLitter, "a/A/._a.sym": roleLitter, "._a": roleLitter,
		"Thumbs.db": roleLitter, "a/A/THUMBS.DB": roleLitter, "a/desktop.ini": roleLitter, "Desktop.ini": roleLitter,
		"firefox-60.0a1-symbols.txt": roleListing, "a b (1)-symbols.txt": roleListing, "ä-symbols.txt": roleListing, "X-SYMBOLS.TXT": roleListing, "./x-Symbols.txt": roleListing,
		"a/": roleDirectory, "a/b/c/d/e/": roleDirectory, "./": roleDirectory, "/": roleDirectory, ".hidden/": roleDirectory, "__MACOSX/": roleDirectory, "./a/A/": roleDirectory,
	} {
		if p, err := new(naming).locate(name, strings.HasSuffix(name, "/")); err != nil || p.role != want {
			t.Errorf("%q: role %v, %v", name, p.role, err)
		}
	}
	for _, root := range []string{".", "", "a", "a/A"} { // as a tar may have them
		if p, err := new(naming).locate(root, true); err != nil || p.role != roleDirectory {
			t.Errorf("directory %q: role %v, %v", root, p.role, err)
		}
	}
}

// No name is a file and a folder.
func TestFilesAndFolders(t *testing.T) {
	for _, c := range []struct {
		names []string
		both  string
	}{
		{[]string{"a/A/a.sym", "a/A/a.sym/"}, "a/A/a.sym"}, {[]string{"a/A/a.sym/", "a/A/a.sym"}, "a/A/a.sym"},
		{[]string{"a-symbols.txt", "a-symbols.txt/A/a.sym"}, "a-symbols.txt"}, {[]string{"a-symbols.txt/A/a.sym", "a-symbols.txt"}, "a-symbols.txt"},
		{[]string{"a/A/a.sym", "a/A/a.sym/._x"}, "a/A/a.sym"}, {[]string{"a/A/a.sym/b/c/.DS_Store", "a/A/a.sym"}, "a/A/a.sym"},
	} {
		var files []file
		for _, name := range c.names {
			files = append(files, file{name, ""})
		}
		for _, format := range formats {
			if got := rejected(t, build(t, format, files), roomy, ErrInvalid); !strings.Contains(got, "has '"+c.both+"' as a file, and as a folder") {
				t.Errorf("%s: %q: %s", format, c.names, got)
			}
		}
	}
	data := build(t, "tar", []file{{"./", ""}, {"a/", ""}, {"a/A/", ""}, {"a/A/a.sym", ""}, {"a/A/a.sym", ""}, {"a/", ""}, {"a/A/b.sym", ""}})
	if _, _, err := verify(t.Context(), data, roomy); err != nil {
		t.Error(err)
	}
}

func TestHints(t *testing.T) {
	for name, hint := range map[string]string{
		"000Admin/server.txt": "put the folders of the modules alone", "./000admin/0000000001": "modules alone", "pingme.txt": "modules alone", "index2.txt": "modules alone",
	} {
		data := makeZip([]*entry{stored("a/A/a.sym", "a"), stored(name, "x")}, nil)
		if got := rejected(t, data, roomy, ErrInvalid); !strings.HasPrefix(got, unrecognizedName) || !strings.Contains(got, hint) {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func TestSnippets(t *testing.T) {
	for _, name := range []string{
		"qcom/proprietary/x", "a/A/qcom/proprietary", "qcom/proprietary/.DS_Store", "x/qcom/proprietary/", `qcom\proprietary\x`, "./qcom/proprietary", "__MACOSX/qcom/proprietary",
	} {
		_, err := (&naming{disallowed: roomy.DisallowedSnippets}).locate(name, strings.HasSuffix(name, "/"))
		if err == nil || !strings.Contains(err.Error(), "contains the snippet 'qcom/proprietary' which is not allowed") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSniff(t *testing.T) {
	pad := strings.Repeat("\x01", 600)
	for head, want := range map[string]string{
		"":                              "The file is empty",
		"x":                             "The file is not an archive; zip, tar",
		pad:                             "The file is not an archive; zip, tar",
		"7z\xbc\xaf\x27\x1c\x00\x04":    "7z archives are not supported",
		"Rar!\x1a\x07\x00":              "rar archives are not supported",
		"Rar!\x1a\x07\x01\x00":          "rar archives are not supported",
		"MSCF\x00\x00\x00\x00":          "cab archives are not supported",
		"LZIP\x01\x0c":                  "lzip archives",
		"\x04\x22\x4d\x18":              "lz4 archives",
		"\x1f\x9d\x90":                  "compress (.Z) archives",
		"\x5d\x00\x00\x80":              "lzma archives",
		"!<arch>\ndebian-binary":        "ar archives",
		"070701":                        "cpio archives",
		"PK\x07\x08":                    "The file is not an archive",
		"MODULE Linux x86_64 ABC a.out": "a single symbol file",
		"Microsoft C/C++ MSF 7.00\r\n":  "a PDB file",
		"MZ\x90\x00":                    "a Windows executable",
		"\x7fELF\x02":                   "an ELF file",
		"\xcf\xfa\xed\xfe":              "a Mach-O file",
		"\xef\xbb\xbf\n<!DOCTYPE html>": "an HTML page",
		"<HTML>":                        "an HTML page",
		"BZh":                           "not an archive",
		"\x1f\x8b\x00":                  "not an archive",
		strings.Repeat("\x00", 1024):    "not an archive",
	} {
		if got := rejected(t, []byte(head), roomy, ErrInvalid); !strings.Contains(got, want) {
			t.Errorf("%.20q: %q does not say %q", head, got, want)
		}
	}
	name := writeFile(t, "misleading.zip", tarOf(t, someFiles()))
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	if a, err := Open(t.Context(), f, info.Size(), roomy, new(desk)); err != nil || a.Format != "tar" {
		t.Errorf("a tar in a .zip: %v", err)
	}
}
