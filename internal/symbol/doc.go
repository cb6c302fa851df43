// Package symbol names symbol files and reads the first lines of Breakpad files.
//
// A symbol file is addressed by a [Key] of three components:
//
//	<debug file>/<debug id>/<symbol file>      firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.sym
//
// the layout of Microsoft's symbol servers and of Mozilla's Tecken. A Key is validated: its components are safe in an object key, a file
// name and a URL.
//
// A [HeaderScanner] reads the header of a .sym file from the same stream that is being hashed. Format:
// https://chromium.googlesource.com/breakpad/breakpad/+/master/docs/symbol_files.md
//
// The rest of a symbol file is not checked: it may not parse, and its MODULE line may disagree with its key.
package symbol
