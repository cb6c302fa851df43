// Package storage holds what all storages of symbol files share: object keys, metadata, and the check of a body on its way.
//
//	v1/<debug file>/<debug id>/<symbol file>       a symbol file
//	try/v1/<debug file>/<debug id>/<symbol file>   a symbol file of a try upload
//	broken/<object key>                            a broken file, moved out of the way; never read
//
// A bucket may have all of that below a prefix, which is not part of an object key here.
//
// The layout, the metadata's names and the content types are those of Mozilla's Tecken: each reads a bucket filled by the other. An
// object's metadata describe its uncompressed bytes: original_size is their number, original_md5_hash their MD5 in lower-case hexadecimal.
//
// The storages are the packages dirstore and s3store; storagetest is the suite they both pass.
package storage
