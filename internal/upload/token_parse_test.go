package upload

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

func TestParseToken(t *testing.T) {
	own := strings.Repeat("0123456789abcdef", 4)
	cases := []struct {
		name, header string
		token, label string // the token is empty where the header is no good
	}{
		{"our own", own, own, ""},
		{"a label", own + "-linux64", own, "linux64"},
		{"a label with dashes and spaces", own + "-a-b c", own, "a-b c"},
		{"an empty label", own + "-", own, ""},
		{"a label of other bytes", own + "-gr\u00f6\u00dfe\x00\r\n", own, "gr????e???"},
		{"a long label", own + "-" + strings.Repeat("x", 1000), own, strings.Repeat("x", 100)},
		{"a short token", "a", "a", ""},
		{"the longest", strings.Repeat("f", 128), strings.Repeat("f", 128), ""},
		{"upper case", strings.ToUpper(own), strings.ToUpper(own), ""},
		{"too long", strings.Repeat("f", 129), "", ""},
		{"a megabyte", strings.Repeat("f", 1<<20), "", ""},
		{"a megabyte of label", own + "-" + strings.Repeat("x", 1<<20), own, strings.Repeat("x", 100)},
		{"empty", "", "", ""},
		{"a label alone", "-label", "", ""},
		{"not hexadecimal", "xyz", "", ""},
		{"a space before", " " + own, "", ""},
		{"a scheme before", "Bearer " + own, "", ""},
		{"digits of another script", "\u0661\u0662", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			hash, label, ok := ParseToken(c.header)
			var want TokenHash
			if c.token != "" {
				want = sha256.Sum256([]byte(c.token))
			}
			if hash != want || label != c.label || ok != (c.token != "") {
				t.Errorf("got %x, %q, %v", hash, label, ok)
			}
		})
	}
}

func TestTokenJudgements(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		token                       Token
		expired, revoked, canUpload bool
	}{
		"nothing":    {Token{}, false, false, false},
		"regular":    {Token{Permissions: []Permission{PermissionUpload}, ExpiresAt: now.Add(1)}, false, false, true},
		"try":        {Token{Permissions: []Permission{PermissionViewAll, PermissionUploadTry}, ExpiresAt: now}, true, false, true},
		"viewer":     {Token{Permissions: []Permission{PermissionViewAll}, ExpiresAt: now.Add(-1)}, true, false, false},
		"revoked":    {Token{RevokedAt: now.Add(-1)}, false, true, false},
		"elsewhere":  {Token{ExpiresAt: now.In(time.FixedZone("", 3600))}, true, false, false},
		"unheard of": {Token{Permissions: []Permission{"upload"}}, false, false, false},
	} {
		if got := c.token.Expired(now); got != c.expired {
			t.Errorf("%s: expired is %v", name, got)
		}
		if got := c.token.Revoked(); got != c.revoked {
			t.Errorf("%s: revoked is %v", name, got)
		}
		if got := c.token.CanUpload(); got != c.canUpload {
			t.Errorf("%s: can upload is %v", name, got)
		}
	}
}
