package symbol

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold returns a form that all spellings of a name in another case share: the name in NFC, each character replaced by the first of those
// equal under Unicode's simple case folding. The result is for comparison only. Databases fold in their own ways, so names are always
// folded here.
func Fold(name string) string {
	return strings.Map(foldRune, norm.NFC.String(name))
}

// foldRune returns the smallest of the characters that are equal without case.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// Fold returns the form that all spellings of the key in another case share.
func (k Key) Fold() string { return Fold(k.String()) }
