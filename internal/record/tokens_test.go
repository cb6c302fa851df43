package record_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

func TestTokenRoundTrip(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6_000, time.UTC)
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{Now: func() time.Time { return now }})
		plaintext, tok, err := s.CreateToken(t.Context(), record.TokenSpec{
			User: "Jane@Example.com", Permissions: []upload.Permission{upload.PermissionViewAll, upload.PermissionUploadTry},
			Weight: 3, Expires: now.Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(plaintext) {
			t.Errorf("token %q", plaintext)
		}
		want := upload.Token{
			ID: 1, User: "jane@example.com", UserID: 1, Weight: 3, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
			Permissions: []upload.Permission{upload.PermissionUploadTry, upload.PermissionViewAll},
		}
		if diff := cmp.Diff(want, tok); diff != "" {
			t.Errorf("created (-want +got)\n%s", diff)
		}
		// Neither label nor time matters: the caller judges expiry.
		hash, _, _ := upload.ParseToken(plaintext + "-a label")
		wantToken(t, s, hash, want)

		now = now.Add(2 * time.Hour)
		want.RevokedAt = now
		for range 2 {
			if err := s.RevokeToken(t.Context(), tok.ID); err != nil {
				t.Fatal(err)
			}
			wantToken(t, s, hash, want)
			now = now.Add(time.Hour)
		}
	})
}

func wantToken(t *testing.T, s *record.Store, hash upload.TokenHash, want upload.Token) {
	t.Helper()
	got, err := s.Token(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("token (-want +got)\n%s", diff)
	}
}

func TestTokensOfOneUser(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != 0 {
			t.Errorf("at first: %v, %v", tokens, err)
		}
		first, second := newToken(t, s), newToken(t, s)
		if first.UserID != second.UserID || first.ID == second.ID {
			t.Errorf("users %d and %d, tokens %d and %d", first.UserID, second.UserID, first.ID, second.ID)
		}
		got, err := s.Tokens(t.Context())
		if diff := cmp.Diff([]upload.Token{first, second}, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
		_, err = s.Token(t.Context(), upload.TokenHash{1})
		wantErr(t, "Token", err, upload.ErrNotFound)
		wantErr(t, "RevokeToken", s.RevokeToken(t.Context(), 99), upload.ErrNotFound)
	})
}

func TestTokenSpecs(t *testing.T) {
	s := openMigrated(t, sqliteURL(t), record.Options{})
	const up, try, view = upload.PermissionUpload, upload.PermissionUploadTry, upload.PermissionViewAll
	long := strings.Repeat("a", 250) + "@example.com"
	cases := []struct {
		name   string
		spec   record.TokenSpec
		faults int
	}{
		{"least", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up}, Weight: 1}, 0},
		{"most", record.TokenSpec{User: "a+b@c.example", Permissions: []upload.Permission{try, view}, Weight: 1000, Expires: time.Now().Add(time.Hour)}, 0},
		{"nothing", record.TokenSpec{}, 3},
		{"no address", record.TokenSpec{User: "jane", Permissions: []upload.Permission{up}, Weight: 1}, 1},
		{"an address with a name", record.TokenSpec{User: "Jane <a@b>", Permissions: []upload.Permission{up}, Weight: 1}, 1},
		{"two addresses", record.TokenSpec{User: "a@b, c@d", Permissions: []upload.Permission{up}, Weight: 1}, 1},
		{"a long address", record.TokenSpec{User: long, Permissions: []upload.Permission{up}, Weight: 1}, 1},
		{"an address with NUL", record.TokenSpec{User: "a\x00@b", Permissions: []upload.Permission{up}, Weight: 1}, 1},
		{"both", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up, try}, Weight: 1}, 1},
		{"a look at records alone", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{view}, Weight: 1}, 0},
		{"no permission", record.TokenSpec{User: "a@b", Weight: 1}, 1},
		{"unknown", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up, "root"}, Weight: 1}, 1},
		{"twice", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up, view, view}, Weight: 1}, 1},
		{"heavy", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up}, Weight: 1001}, 1},
		{"negative", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up}, Weight: -1}, 1},
		{"past", record.TokenSpec{User: "a@b", Permissions: []upload.Permission{up}, Weight: 1, Expires: time.Unix(1, 0)}, 1},
	}
	for _, c := range cases {
		plaintext, tok, err := s.CreateToken(t.Context(), c.spec)
		got := 0
		if err != nil {
			got = strings.Count(err.Error(), "\n") + 1
		}
		if got != c.faults || errors.Is(err, record.ErrInvalidSpec) != (c.faults > 0) || (plaintext == "") != (c.faults > 0) {
			t.Errorf("%s: %d faults instead of %d (%v), token %v", c.name, got, c.faults, err, tok)
		}
	}
	if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != 3 {
		t.Errorf("%d tokens (%v), want the three that are valid", len(tokens), err)
	}
}

func TestOnlyHashesAreInTheFile(t *testing.T) {
	url := sqliteURL(t)
	s := openMigrated(t, url, record.Options{})
	plaintext, tok, err := s.CreateToken(t.Context(), record.TokenSpec{
		User: "a@example.com", Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	hash, _, _ := upload.ParseToken(plaintext)
	found := false
	files, err := filepath.Glob(strings.TrimPrefix(url, "sqlite:") + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files %v (%v)", files, err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), plaintext) || strings.Contains(string(raw), plaintext[:32]) {
			t.Errorf("%s holds the token", name)
		}
		found = found || strings.Contains(string(raw), string(hash[:])) && strings.Contains(string(raw), tok.User)
	}
	if !found {
		t.Error("the hash is in none of the files: this test looks in the wrong place")
	}
}
