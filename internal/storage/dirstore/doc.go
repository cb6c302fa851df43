// Package dirstore keeps symbol files in a local directory.
//
//	<dir>/<object key>     a symbol file, as it is served; see package storage
//	<dir>/…/.<file>.meta   its metadata, beside it: JSON, one string per name
//	<dir>/broken/<object key>, …/.<file>.meta   the same of a broken one that was moved out of the way
//	<dir>/.new/<random>    a file being written, held by flock(2)
//	<dir>/.lock            byte ranges of it are the locks of object keys
//
// No component of a symbol key has a leading dot, so nothing of ours is ever taken for a symbol file.
//
// A file is written under .new, verified and synced there, and renamed into place. Where one is replaced,
// its metadata go first, then come the new data, then the new metadata, each step durable before the
// next can be: whatever moment a process or the machine dies at, metadata never stand beside data they
// do not describe. At worst they are missing, and an object without metadata is never skipped: it is
// stored once more by the next upload that holds it. The size of the stored file is part of the metadata
// and compared too, for directories that others write to.
//
// A writer that is killed leaves its file in .new with nobody to hold the lock on it. The next Prepare of the
// directory, by whatever process, deletes such files and none that are still being written.
//
// Readers and writers of one key exclude each other through a byte-range lock of the open file (fcntl(2),
// F_OFD_SETLK), among goroutines and among processes of one machine. Processes on several machines that
// share the directory over a network have that promise only as far as its file system gives it.
//
// A system call that hangs in the kernel (a dead disk, a frozen file system) is not interrupted when the
// context ends; only [Store.Check] returns in time even then.
package dirstore
