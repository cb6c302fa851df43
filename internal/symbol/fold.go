package symbol

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold returns what all spellings of a name in another case have in common: the name is composed (NFC), then each character
// becomes the first of those that Unicode's simple case folding takes for one. The result is for comparing; it is no name.
// Databases fold each in a way of their own, so whatever is recorded or looked up without its case is folded here.
func Fold(name string) string {
	return strings.Map(foldRune, norm.NFC.String(name))
}

// foldRune returns the smallest of the characters that are one without their case.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// Fold returns what the key has in common with its spellings in another case.
func (k Key) Fold() string { return Fold(k.String()) }
