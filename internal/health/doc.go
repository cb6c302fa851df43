// Package health decides from errors of real uploads whether an instance should get traffic.
//
// Two things turn its heartbeats red, and both turn green by themselves:
//
//   - [Disks]: a few errors inside a window, of a disk that uploads are written to (spool, SQLite, directory storage).
//     Counted are errors of the kernel or SQLite (full, quota, read-only, I/O), and reservations that would not fit
//     even with every live upload gone. An instance full of live uploads is merely busy.
//   - [Proof]: uploads that keep failing for want of a service. Reads prove nothing: a read-only database answers
//     them. So a service is proven by writes, those of uploads or one of the check's own.
//
// What a client can cause (a hang-up, a deadline, a refused object) raises doubt; the check's own write then decides.
//
// The package is passive: errors are reported to it, and it writes only when a heartbeat asks.
package health
