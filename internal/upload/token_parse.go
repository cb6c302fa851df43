package upload

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// Bounds of what a client presents, in bytes. Our own tokens are 64 digits; others may have been taken over
// from an older server.
const (
	maxToken = 128
	maxLabel = 100
)

// ParseToken reads the value of an Auth-Token header: "<token>" or "<token>-<label>". The token is 1 to 128
// hexadecimal digits, hashed as presented; ok is false where it is anything else. The label is whatever
// follows the first "-", cut to 100 bytes, each byte but printable ASCII replaced by "?".
func ParseToken(header string) (hash TokenHash, label string, ok bool) {
	token, label, _ := strings.Cut(header, "-")
	if len(token) < 1 || len(token) > maxToken {
		return TokenHash{}, "", false
	}
	for i := range len(token) {
		switch b := token[i]; {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'f', 'A' <= b && b <= 'F':
		default:
			return TokenHash{}, "", false
		}
	}
	printable := []byte(label[:min(len(label), maxLabel)])
	for i, b := range printable {
		if b < ' ' || b > '~' {
			printable[i] = '?'
		}
	}
	return sha256.Sum256([]byte(token)), string(printable), true
}

// Has reports whether the token has permission p.
func (t *Token) Has(p Permission) bool { return slices.Contains(t.Permissions, p) }

// CanUpload reports whether the token allows uploads, be it only try uploads.
func (t *Token) CanUpload() bool { return t.Has(PermissionUpload) || t.Has(PermissionUploadTry) }

// Expired reports whether the token's time has passed.
func (t *Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// Revoked reports whether the token was revoked, which is to be treated like one that never was.
func (t *Token) Revoked() bool { return !t.RevokedAt.IsZero() }
