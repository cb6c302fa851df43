package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tecken-upload/internal/upload"
)

// Authenticate returns the request's token, and its label.
func (s *Responder) Authenticate(r *http.Request) (upload.Token, string, error) {
	header := r.Header.Get("Auth-Token")
	if header == "" {
		return upload.Token{}, "", ErrNoToken
	}
	hash, label, ok := upload.ParseToken(header)
	if !ok {
		return upload.Token{}, "", ErrTokenUnknown
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), tokenTimeout, upload.ErrUnavailable)
	defer cancel()
	token, err := s.Tokens.Token(ctx, hash)
	switch {
	case errors.Is(err, upload.ErrNotFound):
		return upload.Token{}, "", ErrTokenUnknown
	case err != nil:
		return upload.Token{}, "", upload.OfBacking(upload.BackingDatabase, fmt.Errorf("look up the token: %w", err))
	case token.Revoked():
		return upload.Token{}, "", ErrTokenUnknown
	case token.Expired(s.Now()):
		return upload.Token{}, "", ErrTokenExpired
	}
	return token, label, nil
}
