// Package dirstore keeps symbol files in a local directory.
//
//	<dir>/<object key>     a symbol file, as it is served; see package storage
//	<dir>/…/.<file>.meta   its metadata: JSON, one string per name
//	<dir>/broken/<object key>, …/.<file>.meta   a broken file that was moved out of the way, and its metadata
//	<dir>/.new/<random>    a file on its way into place, held by flock(2)
//	<dir>/.lock            its byte ranges are the locks of object keys
//
// No component of a symbol key has a leading dot, so none of these is taken for a symbol file.
//
// A file is written without a name (O_TMPFILE), verified and synced. On its way into place it has a name under .new, as it has from its start
// where the file system has no other files. An object that is staged keeps two files open, its data and its metadata. A replacement removes
// the metadata, then renames the new data, then the new metadata; each step is durable before the next. So whenever a process or the machine
// dies, metadata never stand beside other data. At worst they are missing: an object without metadata is never skipped, and the next upload
// stores it again. The stored size is part of the metadata and compared too, for directories with other writers.
//
// A killed writer leaves nothing, or its file in .new with a free lock. The next Prepare of the directory, by any process, deletes such files
// and keeps those still being written.
//
// Readers and writers of one key exclude each other by a byte-range lock of the open file (fcntl(2), F_OFD_SETLK), among goroutines and
// among processes of one machine. Between machines that share the directory over a network this holds as far as the file system supports
// it.
//
// A system call that hangs in the kernel (a dead disk, a frozen file system) is not interrupted when the context ends.
package dirstore
