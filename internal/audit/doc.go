// Package audit reads stored symbol files back, and finds those whose bytes are not what their metadata say.
//
// A file is good if its bytes, inflated by internal/inflate where they are stored as gzip, end without a fault and have
// the size and the MD5 in its metadata. A file is found broken only after two readings said so; one that can't be read is
// never called broken. Without that metadata a file can't be verified: another server has stored it, or somebody by hand.
//
// What is audited is what storage lists, whether or not there are records of it. Files are taken in the order of their
// object keys, and several are read at once; the key up to which all are done is where another audit goes on.
//
// A broken file may be moved out of the way. The next upload that holds it stores it anew: an upload asks storage itself
// what is there. Servers that remember having found it find out when they open it, or forget it in time.
package audit
