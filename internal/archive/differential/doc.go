// Package differential compares internal/archive with the archive readers in common use. It has tests only.
//
// The test makes small zips and tars of every form that is in use, changes them (one field to a boundary value, a record twice,
// bytes where none belong, …), puts sizes, offsets and checksums right again where the change is not about them, and reads the
// result with internal/archive. Where that accepts the archive, the other readers read it too: Python's zipfile and tarfile,
// bsdtar (from the file, and zips from a pipe as well), Info-ZIP's unzip, GNU tar, Go's archive/zip and archive/tar, and 7-Zip.
// They must find the same names with the same bytes, once names are brought into the form in which symbols are stored.
//
// The kinds of difference, from worst to least:
//
//	another list   a reader finds other names or bytes and reports no error: a failure (of 7-Zip: counted)
//	an error       a reader refuses what is accepted: a failure of Python and bsdtar, counted for the others
//	refused        internal/archive refuses what all the others read alike: counted, with the reasons, where -refused is given
//
// Known limitations of a reader are listed in exceptions, each with its reason.
//
// Every archive is a function of -seed and its number, so a find is repeated with -seed N -only NUMBER. Archives that fail are kept
// in a directory; its name is printed.
package differential
