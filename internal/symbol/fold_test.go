package symbol

import (
	"testing"
	"unicode"
)

func TestFold(t *testing.T) {
	for _, spellings := range [][]string{
		{"baseservice.pdb/44e4/baseservice.sym", "BaseService.pdb/44E4/BaseService.SYM", "BASESERVICE.PDB/44e4/baseservice.sym"},
		{"größe.dll", "GRÖßE.DLL", "GRO\u0308ẞE.dll"},                       // composed or not; ẞ is the capital of ß
		{"σίσυφος.so", "ΣΊΣΥΦΟΣ.SO", "ΣΙ\u0301ΣΥΦΟς.so", "ςίςυφος.so"},      // three sigmas are one
		{"k\u00e5.exe", "\u212aA\u030a.EXE", "K\u212b.exe", "ka\u030a.exe"}, // the Kelvin and the Ångström sign are letters
		{"привет.dylib", "ПРИВЕТ.DYLIB"},
		{"日本語 1.0.so", "日本語 1.0.SO"},
	} {
		for _, s := range spellings {
			if got, want := Fold(s), Fold(spellings[0]); got != want {
				t.Errorf("%q folds to %q, %q to %q", s, got, spellings[0], want)
			}
		}
	}
	if got := Fold("BaseService.PDB/44E4/a"); got != "BASESERVICE.PDB/44E4/A" {
		t.Errorf("it is %q", got)
	}
	for _, pair := range [][2]string{{"a.pdb", "b.pdb"}, {"strasse", "straße"}, {"ı", "i"}, {"İ", "i"}, {"é", "e"}, {"ﬁ", "fi"}} {
		if Fold(pair[0]) == Fold(pair[1]) {
			t.Errorf("%q and %q are one", pair[0], pair[1])
		}
	}
}

// Characters that fold to one fold to the same, from either side.
func TestFoldIsTheSameForAllCases(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if next := unicode.SimpleFold(r); foldRune(r) != foldRune(next) {
			t.Errorf("%U folds to %U, %U to %U", r, foldRune(r), next, foldRune(next))
		}
	}
}
