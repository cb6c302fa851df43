package record

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"tecken-upload/internal/record/database"
	"tecken-upload/internal/upload"
)

// maxWeight bounds a token's weight: one tenant may get a thousand times another's share.
const maxWeight = 1000

// tokenBytes is the number of random bytes of a token, written in hexadecimal.
const tokenBytes = 32

// maxEmail bounds an e-mail address, in bytes (RFC 5321, 4.5.3.1.3).
const maxEmail = 254

// ErrInvalidSpec is wrapped by every error about a TokenSpec.
var ErrInvalidSpec = errors.New("invalid token")

// A TokenSpec describes a new token.
type TokenSpec struct {
	User        string              // e-mail address, stored in lower case; a new user is made
	Permissions []upload.Permission // one to upload, the one to view all, or both
	Weight      int                 // 1 to 1000
	Expires     time.Time           // zero: never
}

// check returns all of the spec's faults.
func (spec *TokenSpec) check(now time.Time) error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: %w", ErrInvalidSpec, fmt.Errorf(format, args...)))
	}
	if a, err := mail.ParseAddress(spec.User); err != nil || a.Address != spec.User || len(spec.User) > maxEmail {
		fault("%q is not an e-mail address", spec.User)
	}
	uploads := 0
	for i, p := range spec.Permissions {
		switch p {
		case upload.PermissionUpload, upload.PermissionUploadTry:
			uploads++
		case upload.PermissionViewAll:
		default:
			fault("there is no permission %q", p)
		}
		if slices.Contains(spec.Permissions[:i], p) {
			fault("permission %q is named twice", p)
		}
	}
	switch {
	case len(spec.Permissions) == 0:
		fault("needs %s, %s or %s", upload.PermissionUpload, upload.PermissionUploadTry, upload.PermissionViewAll)
	case uploads > 1:
		fault("has either %s or %s", upload.PermissionUpload, upload.PermissionUploadTry)
	}
	if spec.Weight < 1 || spec.Weight > maxWeight {
		fault("weight %d is not between 1 and %d", spec.Weight, maxWeight)
	}
	if !spec.Expires.IsZero() && !spec.Expires.After(now) {
		fault("expires in the past")
	}
	return errors.Join(faults...)
}

// CreateToken makes a token, and returns it in plain text: 64 lower-case hexadecimal digits, which are not stored. The error wraps
// ErrInvalidSpec, once for each fault of the spec.
func (s *Store) CreateToken(ctx context.Context, spec TokenSpec) (plaintext string, tok upload.Token, err error) {
	now := s.now().UTC().Truncate(time.Microsecond)
	if err := spec.check(now); err != nil {
		return "", upload.Token{}, err
	}
	random := make([]byte, tokenBytes)
	if _, err := rand.Read(random); err != nil {
		return "", upload.Token{}, fmt.Errorf("create a token: %w", err)
	}
	plaintext = hex.EncodeToString(random)
	hash, _, _ := upload.ParseToken(plaintext)
	tok = upload.Token{
		User:        strings.ToLower(spec.User),
		Permissions: slices.Sorted(slices.Values(spec.Permissions)),
		Weight:      spec.Weight,
		CreatedAt:   now,
	}
	if !spec.Expires.IsZero() {
		tok.ExpiresAt = spec.Expires.UTC().Truncate(time.Microsecond)
	}
	err = s.Change(ctx, writeTimeout, "create a token", func(ctx context.Context, tx *sql.Tx) error {
		return insertToken(ctx, tx, hash, &tok)
	})
	if err != nil {
		return "", upload.Token{}, err
	}
	return plaintext, tok, nil
}

// insertToken stores tok, and a new user, and sets their ids.
func insertToken(ctx context.Context, tx *sql.Tx, hash upload.TokenHash, tok *upload.Token) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO users (email, created_at) VALUES ($1, $2) ON CONFLICT (email) DO NOTHING`,
		tok.User, database.Time(tok.CreatedAt))
	if err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE email = $1`, tok.User).Scan(&tok.UserID); err != nil {
		return err
	}
	permissions := make([]string, len(tok.Permissions))
	for i, p := range tok.Permissions {
		permissions[i] = string(p)
	}
	return tx.QueryRowContext(ctx, `
		INSERT INTO tokens (user_id, hash, permissions, weight, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		RETURNING id`,
		tok.UserID, hash[:], strings.Join(permissions, " "), tok.Weight, database.Time(tok.CreatedAt), database.Time(tok.ExpiresAt),
	).Scan(&tok.ID)
}

//nolint:gosec // it selects credentials and contains none
const selectTokens = `
	SELECT tokens.id, email, users.id, permissions, weight, tokens.created_at, expires_at, revoked_at
	FROM tokens JOIN users ON users.id = user_id `

// Token returns the token with the given hash, or upload.ErrNotFound. It returns expired and revoked tokens too.
func (s *Store) Token(ctx context.Context, hash upload.TokenHash) (tok upload.Token, err error) {
	err = s.Read(ctx, "look up a token", func(ctx context.Context, conn database.Conn) error {
		tok, err = scanToken(conn.QueryRowContext(ctx, selectTokens+`WHERE hash = $1`, hash[:]))
		return err
	})
	return tok, err
}

// Tokens returns all tokens, expired and revoked ones too, by id.
func (s *Store) Tokens(ctx context.Context) (tokens []upload.Token, err error) {
	err = s.Read(ctx, "list tokens", func(ctx context.Context, conn database.Conn) error {
		tokens = nil
		return database.Each(ctx, conn, selectTokens+`ORDER BY tokens.id`, nil, func(rows *sql.Rows) error {
			tok, err := scanToken(rows)
			tokens = append(tokens, tok)
			return err
		})
	})
	return tokens, err
}

func scanToken(row interface{ Scan(...any) error }) (tok upload.Token, err error) {
	var permissions string
	err = row.Scan(&tok.ID, &tok.User, &tok.UserID, &permissions, &tok.Weight,
		(*database.Time)(&tok.CreatedAt), (*database.Time)(&tok.ExpiresAt), (*database.Time)(&tok.RevokedAt))
	if err != nil {
		return upload.Token{}, err
	}
	for p := range strings.FieldsSeq(permissions) {
		tok.Permissions = append(tok.Permissions, upload.Permission(p))
	}
	return tok, nil
}

// RevokeToken revokes the token with the given id for ever; a revoked one keeps its time. A missing token is upload.ErrNotFound.
func (s *Store) RevokeToken(ctx context.Context, id int64) error {
	return s.Change(ctx, writeTimeout, fmt.Sprintf("revoke token %d", id), func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1 RETURNING id`,
			id, database.Time(s.now())).Scan(new(int64))
	})
}
