// Package fetch downloads an archive from an https address that a client chose, and reaches nothing else.
//
// It guarantees for every address, the first and each of at most five redirects:
//
//   - the URL is https, with a listed host and port, without user name or password;
//   - the connection goes to a public address: it is checked after the name was resolved and before the first
//     packet, so no DNS answer leads elsewhere;
//   - certificates are verified; no proxy, cookie or credential is used, no connection is shared or kept;
//   - a download ends: after too long without a byte, too long in all, or too many bytes. The source's own
//     declarations can only refuse it.
//
// A broken fetch is resumed if the answer had a strong validator (RFC 9110, 8.8.1) and the source confirms validator, offset and total:
// bytes of two versions are never mixed. The end of a connection is never taken for the end of an archive: an answer without a length is
// complete when the source confirms that nothing is left.
//
// Errors and recorded addresses have no query. Of the source's text, errors have only names in its certificate and the host of a refused
// redirect, in printable ASCII and bounded. Recorded addresses have listed hosts. Paths are shown: a secret in a path is not recognised.
// The content is passed on as it comes, whatever its Content-Encoding; the caller decides whether it is an archive.
package fetch
