package uploads

import (
	"bytes"
	"net/http"
	"unicode/utf8"

	"tecken-upload/internal/web/exchange"
)

// checkEncoding refuses a body with a Content-Encoding, before any of it is read.
func checkEncoding(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return exchange.ErrEncodedForm
	}
	return nil
}

// isFile reports whether what claims to be a form of text is none: curl --data-binary claims that of any file.
func isFile(form []byte) bool {
	return bytes.ContainsFunc(form[:min(len(form), 256)], func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == utf8.RuneError
	})
}
