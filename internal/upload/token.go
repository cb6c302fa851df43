package upload

import "time"

// A Permission is something that a token allows its bearer.
type Permission string

// The permissions. A token has one of the first two, the third, or both.
const (
	PermissionUpload    Permission = "upload_symbols"     // regular uploads, and try uploads on request
	PermissionUploadTry Permission = "upload_try_symbols" // try uploads only
	PermissionViewAll   Permission = "view_all_uploads"   // records of every user
)

// A TokenHash is the SHA-256 of a token, all that is ever stored of it.
type TokenHash [32]byte

// A Token is what is known of an API token. A token is also the *tenant*: the unit of fairness and of
// limits.
type Token struct {
	ID          int64
	User        string // e-mail
	UserID      int64
	Permissions []Permission
	Weight      int // share of this tenant relative to the others, from 1
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	RevokedAt   time.Time // zero: not revoked
}

// TryOnly reports whether every upload by this token is a try upload.
func (t *Token) TryOnly() bool { return !t.Has(PermissionUpload) }
