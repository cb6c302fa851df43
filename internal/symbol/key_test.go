package symbol

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKey(t *testing.T) {
	for name, want := range map[string][]string{
		"firefox.pdb/44e4ec8c2F41492B9369D6B9A059577C2/firefox.sym": {"firefox.pdb", "44E4EC8C2F41492B9369D6B9A059577C2", "firefox.sym"},
		"lib stdc++ (1).so/0/a~!$&()*+,-.:;=?@_.sym":                {"lib stdc++ (1).so", "0", "a~!$&()*+,-.:;=?@_.sym"},
		"a./F/a..b":          {"a.", "F", "a..b"},
		"größe.pdb/A/微信.exe": {"größe.pdb", "A", "微信.exe"},
		"gro\u0308ße/A/Te\u0301st \u1110\u1166.sym": {"größe", "A", "Tést 테.sym"}, // in normal form D, as macOS has them
		"₿ – ½/A/🦊.sym":                             {"₿ – ½", "A", "🦊.sym"},
		strings.Repeat("a", 200) + "/" + strings.Repeat("A", 110) + "/" + strings.Repeat("c", 200): {
			strings.Repeat("a", 200), strings.Repeat("A", 110), strings.Repeat("c", 200)},
	} {
		k, err := ParseKey(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, []string{k.DebugFile(), k.DebugID(), k.File()}); diff != "" {
			t.Error(diff)
		}
		if again, err := ParseKey(k.String()); err != nil || again != k {
			t.Errorf("%q is not its own key: %v", k, err)
		}
		if path, err := url.PathUnescape(k.URLPath()); err != nil || path != k.String() {
			t.Errorf("%q as a URL path is %q", k, k.URLPath())
		}
	}
}

func TestBadKeys(t *testing.T) {
	bad := []string{
		"", "a", "a/A", "a/A/a/", "/a/A/a", "a//a", "/A/a", "a/A/", "a/A/b/c", "../A/a", "a/../a", "a/A/..", "a/A/.", ".a/A/a", "a/.A/a", "a/A/.a",
		"a/G/a", "a/0x1/a", "a/A-B/a", "a/A\x00/a", "a/A/a\n", "a/A/\x7f", "a/A/\xff", "a/A/a\u00ad", "a/A/a\u200d", "a/A/\u202ea",
		"a/A/a\u00a0", "a/A/\u2028", "a/A/\ue000", "a/Ａ/a", "a/٣/a", strings.Repeat("ä", 101) + "/A/a",
		strings.Repeat("a", 201) + "/A/a", "a/" + strings.Repeat("A", 201) + "/a", "a/A/" + strings.Repeat("a", 201),
		strings.Repeat("a", 200) + "/" + strings.Repeat("A", 111) + "/" + strings.Repeat("c", 200), strings.Repeat("a/", 1<<20),
	}
	for _, c := range "\\^`><{}[]#%\"'|" {
		bad = append(bad, "a/A/a"+string(c))
	}
	for _, name := range bad {
		k, err := ParseKey(name)
		if !errors.Is(err, ErrInvalidKey) || k != (Key{}) {
			t.Errorf("%.60q: key %q, %v", name, k, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%.60q: an error of %d bytes", name, len(err.Error()))
		}
	}
}

func TestIsSym(t *testing.T) {
	for name, want := range map[string]bool{"a.sym": true, "a.SYM": true, "a.sYm": true, "a.sym.gz": false, "sym": false, "a.pdb": false, "asym": false} {
		k, err := NewKey("a", "A", name)
		if err != nil || k.IsSym() != want {
			t.Errorf("%s: %v, %v", name, k.IsSym(), err)
		}
	}
}

func TestAsSent(t *testing.T) {
	key, err := NewKey("a", "abC", "a+b ~.sym")
	if err != nil {
		t.Fatal(err)
	}
	if got := key.AsSent("aBc").String(); got != "a/aBc/a+b ~.sym" {
		t.Errorf("key %q", got)
	}
	for _, other := range []string{"", "../..", "ABCD"} {
		if got := key.AsSent(other); got != key {
			t.Errorf("with the id %q: key %q", other, got)
		}
	}
	if got := key.URLPath(); got != "a/ABC/a%2Bb%20~.sym" {
		t.Errorf("URL path %q", got)
	}
}
