package web

import (
	"bytes"
	"net/http"
	"unicode/utf8"
)

// errEncodedForm is answered to a body that was compressed for its way.
var errEncodedForm error = protocolError("The body has a Content-Encoding, which is not undone here; send the form as it is")

// checkEncoding refuses a body with a Content-Encoding, before any of it is read.
func checkEncoding(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errEncodedForm
	}
	return nil
}

// isFile reports whether what claims to be a form of text is none: curl --data-binary claims that of any file.
func isFile(form []byte) bool {
	return bytes.ContainsFunc(form[:min(len(form), 256)], func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == utf8.RuneError
	})
}
