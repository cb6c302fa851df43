// Package storage holds what every storage of symbol files has in common: where an object lies, what is
// written beside it, and how a body is verified on its way there.
//
//	v1/<debug file>/<debug id>/<symbol file>       a symbol file
//	try/v1/<debug file>/<debug id>/<symbol file>   the same, of a try upload
//	broken/<object key>                            one that was found broken, and moved out of the way: nothing reads it
//
// A bucket may have all of that below a prefix, which is no part of what is called an object key here.
//
// The layout, the metadata's names and the content types are those of Mozilla's Tecken, so that a bucket
// filled by either is read by both. An object's metadata tell of its uncompressed bytes: their number in
// original_size, their MD5 in lower-case hexadecimal in original_md5_hash.
//
// The storages themselves are the packages dirstore and s3store; storagetest is the suite they both pass.
package storage
