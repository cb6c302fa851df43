// Package archive reads an upload's container: zip, or tar, alone or compressed with gzip, bzip2, xz or zstd. Its input is hostile until
// proven otherwise.
//
// An archive is read in two passes:
//
//	Open      recognises the format by its magic bytes and checks the whole listing of a zip
//	Members   inflates every member once, checks all of it, and yields it
//	Each      goes through the members again, to store them
//
// A [Follower] does most of the first pass while the file arrives. It guesses where the members of a zip are; Open and
// Members decide what counts. The result is that of the whole file, whatever was followed.
//
// A member that Members yields has exactly its declared bytes and CRC-32, inside every limit; has a valid [symbol.Key], unless it is
// ignored; and contradicts no earlier member. The archive is good once Members has yielded all of them: a fault at its end is a fault of
// the whole.
//
// # One archive, one meaning
//
// An archive that two common readers (Info-ZIP, libarchive, Python, Go, GNU tar) take for different names or bytes is refused. So is a
// deflate stream that zlib refuses. In a zip, every byte before the central directory belongs to one entry, except zeros between them, and
// local headers agree with the directory. Package tarcheck checks the blocks of a tar.
//
// What ordinary tools make of a good folder is accepted. A name is taken in its plain form: without "./" in front, with slashes if all
// names of a zip have backslashes, in Unicode's normal form C. Directories are neither counted nor listed. What operating systems leave in
// folders (__MACOSX/, ._*, .DS_Store, Thumbs.db, desktop.ini) is ignored, and so is a listing "<name>-symbols.txt". A sparse file of a tar
// is expanded; a hard link is its target's content under another name.
//
// A member with a debug id of all zeros is ignored, except a .sym with a code id in its header: its key is the code id's.
//
// # Memory and disk
//
// Nothing is extracted. Memory is a few hundred KiB for each member being read, two MiB for one above 8 MiB, and the decoder's of a compressed tar: see
// package tarball. Bytes are counted as they are read, not as declared: no pass reads more of a member than its declared size, which is inside
// the limits.
//
// # Bodies
//
// A .sym member is stored as gzip, every other as it is. The gzip of a deflated .sym in a zip is made of the member's own deflate stream
// (RFC 1952 around RFC 1951), without inflating it again; Members has checked that the stream ends exactly where the zip says.
//
// # Formats
//
// Zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, with zip64 and data descriptors, methods 0 (stored) and 8 (deflated).
// The file must start with a member and end with its end record: no prefix (self-extracting archives) and no trailing bytes except zeros.
// Tar: see package tarball.
//
// # Not promised
//
// That a symbol file parses; that a decoder that loops without reading or writing a byte is stopped (none is known); that equal content is
// decided by more than MD5.
package archive
