// Package audit reads stored symbol files back, and finds those that differ from their metadata.
//
// A file is good if its bytes, inflated by internal/inflate if stored as gzip, end without an error and have the size and MD5 in its
// metadata. A file is broken only after two readings found it so; an unreadable file is not broken. A file without metadata can't be
// verified: another server has stored it, or it was stored by hand.
//
// The audit takes the files in storage's listing, with or without records, in the order of their object keys. Several are read at once.
// Another audit can continue at the key up to which all are done.
//
// A broken file may be moved out of the way. The next upload with the file stores it again, since an upload asks storage. Servers that have
// cached it notice when they open it, or forget it in time.
package audit
