// Package fetch downloads an archive from an https address that somebody else chose, without being made to reach
// what it should not.
//
// What it guarantees of every address, the first one as well as each of at most five redirects:
//
//   - it is https, of a host and port that the configuration lists, without a user name or a password in it;
//   - the connection goes to a public address: the very address that is connected to is looked at, after the name
//     was resolved and before the first packet, so that no answer of the DNS, however it changes, leads elsewhere;
//   - certificates are verified; no proxy, cookie or credential is used, no connection is shared or kept;
//   - a download ends: after too long without a byte, after too long altogether, after too many bytes. What the other
//     side declares is believed only where it refuses something.
//
// A transfer that breaks is taken up where it ended, if the answer had a strong validator (RFC 9110, 8.8.1) and the
// other side confirms it, the place and the total; bytes of two versions are never put together. The end of a connection is never
// taken for the end of an archive: an answer without a length is complete when the other side says that nothing is left.
//
// Errors and recorded addresses hold no query. Errors hold nothing that the other side wrote but names in its certificate and the
// host of a redirect that is not allowed, of printable ASCII and bounded; recorded addresses are of listed hosts. Paths are shown: a secret in a path is not recognised as one. The content is handed on as it
// comes, whatever its Content-Encoding; whether it is an archive is for others to say.
package fetch
