package uploads

import (
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// uploadAPIVersion is the version of the upload protocol, for clients to choose by.
const uploadAPIVersion = 1

// neverExpires stands for tokens without an expiry: clients want a number.
var neverExpires = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// authInfoAnswer is a token's facts for a client.
type authInfoAnswer struct {
	Email            string `json:"email"`
	UserID           int64  `json:"user_id"`
	TrySymbols       bool   `json:"try_symbols"`      // its uploads are try uploads
	TokenExpiresAt   int64  `json:"token_expires_at"` // in seconds since 1970
	UploadAPIVersion int    `json:"upload_api_version"`
}

// AuthInfo answers POST /upload/auth_info/. Clients take it for a permission to upload.
func (s *Server) AuthInfo(c echo.Context) error { return s.ForUser(c, authInfo) }

func authInfo(_ echo.Context, token *upload.Token) (any, error) {
	if !token.CanUpload() {
		return nil, exchange.ErrForbidden
	}
	expires := token.ExpiresAt
	if expires.IsZero() {
		expires = neverExpires
	}
	return authInfoAnswer{
		Email:            token.User,
		UserID:           token.UserID,
		TrySymbols:       token.TryOnly(),
		TokenExpiresAt:   expires.Unix(),
		UploadAPIVersion: uploadAPIVersion,
	}, nil
}
