// Package testarchive writes archives of debug symbols like those from build machines, of any size and from a seed: for tests, benchmarks
// and scripts.
//
// The text of its .sym files is well-formed Breakpad (MODULE, INFO, FILE, FUNC, line, PUBLIC and STACK records with addresses and file
// numbers that fit together) and deflates about 4.5 : 1 at level 6, like real files. Members that are compressed before they go into an
// archive (.dbg.gz, .pd_, .ex_, .dl_, .tar.bz2) are random bytes after the right magic number; .dbg.gz is real gzip. Sizes and mix are
// those of the uploads to Mozilla's server over 32 days of 2017.
//
// The same [Spec] gives the same content on every machine; the same bytes of a compressed archive only with the same version of the
// compressor. Content is made while it is written: an archive of 2 GB costs no more memory than one of 2 MB.
//
// Not promised: that the symbols mean anything, or that a .pd_ can be expanded.
// Format: https://chromium.googlesource.com/breakpad/breakpad/+/master/docs/symbol_files.md
package testarchive
