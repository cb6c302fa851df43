package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tecken-upload/internal/upload"
)

// The protocol's refusals; their texts are fixed.
//
//nolint:staticcheck // the wire protocol's texts
var (
	errNoToken      = errors.New("This requires an Auth-Token to authenticate the request")
	errTokenUnknown = errors.New("API Token not matched")
	errTokenExpired = errors.New("API Token found but expired")
	errForbidden    = errors.New("Forbidden")
)

// authenticate returns the token that the request bears, and the label behind it.
func (s *Server) authenticate(r *http.Request) (upload.Token, string, error) {
	header := r.Header.Get("Auth-Token")
	if header == "" {
		return upload.Token{}, "", errNoToken
	}
	hash, label, ok := upload.ParseToken(header)
	if !ok {
		return upload.Token{}, "", errTokenUnknown
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), tokenTimeout, upload.ErrUnavailable)
	defer cancel()
	token, err := s.Tokens.Token(ctx, hash)
	switch {
	case errors.Is(err, upload.ErrNotFound):
		return upload.Token{}, "", errTokenUnknown
	case err != nil:
		return upload.Token{}, "", orService(reasonDatabase, fmt.Errorf("look up the token: %w", err))
	case token.Revoked():
		return upload.Token{}, "", errTokenUnknown
	case token.Expired(s.Now()):
		return upload.Token{}, "", errTokenExpired
	}
	return token, label, nil
}
