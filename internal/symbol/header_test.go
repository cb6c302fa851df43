package symbol

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func scan(text string, cut int) Header {
	var s HeaderScanner
	for len(text) > 0 {
		n := min(cut, len(text))
		_, _ = s.Write([]byte(text[:n]))
		text = text[n:]
	}
	return s.Header()
}

func TestHeader(t *testing.T) {
	long := strings.Repeat("x", MaxComponent+1)
	for name, c := range map[string]struct {
		text string
		want Header
	}{
		"empty": {"", Header{}},
		"windows": {
			"MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 firefox.pdb\r\n" +
				"INFO CODE_ID 5CF2591C6859000 firefox.exe\r\nINFO GENERATOR mozilla/dump_syms 2.3.6\r\nFILE 0 x\r\n",
			Header{"windows", "x86_64", "44E4EC8C2F41492B9369D6B9A059577C2", "firefox.pdb", "5CF2591C6859000", "firefox.exe", "mozilla/dump_syms 2.3.6"},
		},
		"linux, lower case": {
			"MODULE Linux arm64 879684bc63854661efca8a65daf301540 lib xul.so\nINFO CODE_ID bc84968785636146efca8a65daf30154\nPUBLIC 0 0 f\n",
			Header{OS: "Linux", Arch: "arm64", DebugID: "879684BC63854661EFCA8A65DAF301540", DebugFile: "lib xul.so", CodeID: "BC84968785636146EFCA8A65DAF30154"},
		},
		"no line end":         {"MODULE mac x86 ABC XUL", Header{OS: "mac", Arch: "x86", DebugID: "ABC", DebugFile: "XUL"}},
		"other INFO between":  {"MODULE mac x86 ABC XUL\nINFO URL https://x\nINFO CODE_ID AB\n", Header{OS: "mac", Arch: "x86", DebugID: "ABC", DebugFile: "XUL", CodeID: "AB"}},
		"INFO after the rest": {"MODULE mac x86 ABC XUL\nFILE 0 a\nINFO CODE_ID AB x\n", Header{OS: "mac", Arch: "x86", DebugID: "ABC", DebugFile: "XUL"}},
		"not ASCII":           {"MODULE mac arm64 ABC Te\u0301st\nINFO CODE_ID AB 微信.exe\n", Header{OS: "mac", Arch: "arm64", DebugID: "ABC", DebugFile: "Tést", CodeID: "AB", CodeFile: "微信.exe"}},
		"climbs":              {"MODULE Linux x86 ../../etc ../..\nINFO CODE_ID ../.. ../../x\n", Header{OS: "Linux", Arch: "x86"}},
		"a URL":               {"MODULE Linux x86 ABC https://example.com/x\nINFO CODE_ID AB http://x\n", Header{OS: "Linux", Arch: "x86", DebugID: "ABC", CodeID: "AB"}},
		"too few fields":      {"MODULE Linux x86 ABC\nINFO CODE_ID\nINFO GENERATOR\n", Header{}},
		"too long":            {"MODULE " + long + " x86 ABC " + long + "\nINFO GENERATOR " + long + "\n", Header{Arch: "x86", DebugID: "ABC"}},
		"not printable":       {"MODULE Lin\x00ux x86 ABC a\x7f\nINFO GENERATOR a\x1bb\n", Header{Arch: "x86", DebugID: "ABC"}},
		"not a symbol file":   {"\x7fELF\nMODULE Linux x86 ABC x\n", Header{}},
	} {
		for _, cut := range []int{1, 7, 1 << 20} {
			if diff := cmp.Diff(c.want, scan(c.text, cut)); diff != "" {
				t.Errorf("%s, in writes of %d: %s", name, cut, diff)
			}
		}
	}
}

// The scanner stops after 16 KiB, and never joins two lines.
func TestHeaderEnds(t *testing.T) {
	module := "MODULE mac x86 ABC XUL\n"
	filler := func(n int) string { return strings.Repeat("INFO URL x\n", n/11) }
	want := Header{OS: "mac", Arch: "x86", DebugID: "ABC", DebugFile: "XUL"}
	for name, text := range map[string]string{
		"value beyond":          module + filler(maxHeader) + "INFO CODE_ID AB\n",
		"line across the bound": module + filler(maxHeader-len(module)-20) + "INFO CODE_ID " + strings.Repeat("A", 100) + "\n",
		"endless line":          module + strings.Repeat("INFO ", maxHeader),
		"spliced":               module + filler(maxHeader-len(module)-20) + "INFO URL " + strings.Repeat("x", 40) + "\nINFO CODE_ID AB\n",
	} {
		for _, cut := range []int{1, 1000, maxHeader - 1, maxHeader + 10, 1 << 20} {
			if diff := cmp.Diff(want, scan(text, cut)); diff != "" {
				t.Errorf("%s, in writes of %d: %s", name, cut, diff)
			}
		}
	}
}

// FuzzHeaderScanner: the sizes of writes make no difference, and every value found is safe.
func FuzzHeaderScanner(f *testing.F) {
	for _, text := range []string{
		"", "\n", "MODULE", "MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 firefox.pdb\r\nINFO CODE_ID 5CF2591C6859000 firefox.exe\r\n",
		"MODULE Linux x86 ../.. http://x\nINFO GENERATOR \x00\n", "INFO CODE_ID AB x\nFILE", "MODULE a b c d e f\nMODULE 1 2 3 4\n",
		"MODULE mac x86 ABC XUL\n" + strings.Repeat("INFO x\n", maxHeader/7) + "INFO CODE_ID AB\n",
	} {
		f.Add([]byte(text), uint16(1))
		f.Add([]byte(text), uint16(4000))
	}
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		got := scan(string(text), int(cut)+1)
		if diff := cmp.Diff(scan(string(text), len(text)+1), got); diff != "" {
			t.Errorf("in writes of %d: %s", int(cut)+1, diff)
		}
		for _, c := range []string{got.OS, got.Arch, got.DebugID, got.DebugFile, got.CodeID, got.CodeFile} {
			if c != "" && CheckComponent(c) != nil {
				t.Errorf("%q is no component", c)
			}
		}
		for _, id := range []string{got.DebugID, got.CodeID} {
			if id != strings.ToUpper(id) || id != "" && !isHex(id) {
				t.Errorf("%q is no id", id)
			}
		}
		if len(got.Generator) > MaxComponent || strings.ContainsFunc(got.Generator, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("generator %q", got.Generator)
		}
	})
}
