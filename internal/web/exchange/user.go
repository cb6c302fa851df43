package exchange

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/upload"
)

// A UserAnswerer answers a token's bearer: with a value, or with a Streamed answer.
type UserAnswerer func(c echo.Context, token *upload.Token) (any, error)

// ForUser answers a request with a token of any permission.
func (s *Responder) ForUser(c echo.Context, answer UserAnswerer) error {
	r := c.Request()
	token, _, err := s.Authenticate(r)
	if err != nil {
		return err
	}
	body, err := answer(c, &token)
	if err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return s.respond(c, body)
	}
	s.AnswerAndDiscard(c, DiscardAuthenticated.Unread(r), func() {
		if err := s.respond(c, body); err != nil {
			s.answerAny(c, err)
		}
	})
	return nil
}

// respond writes an answer for one token alone. It returns an error if nothing has been sent yet.
func (s *Responder) respond(c echo.Context, body any) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	answer, ok := body.(Streamed)
	if !ok {
		s.Write(c, http.StatusOK, body)
		return nil
	}
	err := s.stream(c, answer)
	if err != nil {
		c.Response().Header().Del("Cache-Control")
	}
	return err
}
