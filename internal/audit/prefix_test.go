package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrefixes(t *testing.T) {
	for prefix, want := range map[string][]string{
		"":            {"try/v1/", "v1/"},
		"xul.pdb/44":  {"try/v1/xul.pdb/44", "v1/xul.pdb/44"},
		"v1":          {"try/v1/v1", "v1/v1"},
		"v1/":         {"v1/"},
		"v1/xul":      {"v1/xul"},
		"try/":        {"try/v1/"},
		"try/xul.pdb": {"try/v1/xul.pdb"},
		"try/v1/xul":  {"try/v1/xul"},
		"broken/":     {"try/v1/broken/", "v1/broken/"},
	} {
		if diff := cmp.Diff(want, prefixes(prefix)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", prefix, diff)
		}
	}
}
