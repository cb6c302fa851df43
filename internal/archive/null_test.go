package archive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A module without a debug id is found by its code id, or never.
func TestNullIDs(t *testing.T) {
	null := strings.Repeat("0", 33)
	module := "MODULE windows x86_64 " + null + " app.exe\n"
	files := []file{
		{"app.exe/" + null + "/app.sym", module + "INFO CODE_ID 5cf2591c6859000 App.exe\nPUBLIC 0 0 f\n"},
		{"noname.exe/0/noname.SYM", module + "INFO CODE_ID ABC\nPUBLIC 0 0 f\n"},
		{"nocode.exe/" + null + "/nocode.sym", module + "PUBLIC 0 0 f\n"},
		{"nullcode.exe/" + null + "/nullcode.sym", module + "INFO CODE_ID 000 App.exe\n"},
		{"app.exe/" + null + "/app.exe", "MZ"},
		{"app.pdb/" + null + "1/app.pdb", "PDB"},
		{"again.exe/00/app.sym", module + "INFO CODE_ID 5cf2591c6859000 App.exe\nPUBLIC 0 0 f\n"},
	}
	want := []string{
		"App.exe/5CF2591C6859000/app.sym App.exe/5CF2591C6859000/app.sym false false",
		"noname.exe/ABC/noname.SYM noname.exe/ABC/noname.SYM false false",
		files[2].name + " // true false",
		files[3].name + " // true false",
		files[4].name + " // true false",
		files[5].name + " " + files[5].name + " false false",
		"App.exe/5CF2591C6859000/app.sym App.exe/5CF2591C6859000/app.sym false true",
	}
	for _, format := range formats {
		a, ms, err := verify(t.Context(), build(t, format, files), roomy)
		must(t, err)
		var got []string
		for _, m := range ms {
			got = append(got, fmt.Sprint(m.Name, " ", m.Key, " ", m.Ignored, " ", m.Duplicate))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
		contents(t, a)
	}
	// Two modules without an id that claim one code id contradict each other.
	files[6].content += "PUBLIC 1 0 g\n"
	if got := rejected(t, build(t, "zip", files), roomy, ErrInvalid); !strings.Contains(got, "App.exe/5CF2591C6859000/app.sym") {
		t.Error(got)
	}
}

// What operating systems leave in a folder, and directories, are no members; but there is an end to them.
func TestLitterIsNotCounted(t *testing.T) {
	files := []file{{"a/A/a.sym", symText}, {"a/", ""}, {"a/A/", ""}, {"__MACOSX/a/A/._a.sym", "x"}, {"a/.DS_Store", "x"}}
	l := Limits{MaxMembers: 1, MaxMemberSize: 1 << 20, MaxExtractedSize: 1 << 20}
	for _, format := range formats {
		_, ms, err := verify(t.Context(), build(t, format, files), l)
		must(t, err)
		if len(ms) != 3 {
			t.Errorf("%s: %d members and ignored files", format, len(ms))
		}
		many := files
		for i := range entriesPerMember + fewEntries - len(files) + 1 {
			many = append(many, file{fmt.Sprintf("d%d/", i), ""})
		}
		if got := rejected(t, build(t, format, many), l, ErrTooLarge); !strings.Contains(got, "more than 1004 entries") {
			t.Errorf("%s: %s", format, got)
		}
		if _, _, err := verify(t.Context(), build(t, format, many[:len(many)-1]), l); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}
