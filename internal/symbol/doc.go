// Package symbol knows how symbol files are named and what the first lines of a Breakpad file say.
//
// A symbol file is addressed by a [Key] of three components:
//
//	<debug file>/<debug id>/<symbol file>      firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.sym
//
// the layout of Microsoft's symbol servers, which Mozilla's Tecken took over. A Key is a validated
// value: holding one is the proof that its components are safe in an object key, a file name and a URL.
//
// The header of a .sym file is read by a [HeaderScanner], from the same stream that is being hashed.
// Format: https://chromium.googlesource.com/breakpad/breakpad/+/master/docs/symbol_files.md
//
// The package promises nothing about the rest of a symbol file: neither that it parses, nor that its
// MODULE line agrees with the key it is stored under.
package symbol
