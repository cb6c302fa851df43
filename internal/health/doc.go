// Package health tells from errors of real uploads whether an instance should get traffic.
//
// Two things turn its heartbeats red, and both turn green by themselves:
//
//   - [Disks]: errors of a disk that uploads are written to (spool, SQLite, directory storage), a few of them inside a window. Such an
//     error is what the kernel or SQLite calls one (full, quota, read-only, I/O), or a reservation that would not fit even with every
//     live upload gone. An instance that is full of live uploads is merely busy.
//   - [Proof]: uploads that keep failing for want of a service. What only reads proves nothing: a database that is read-only answers every
//     question. So a service is proven by writes, those of uploads or, where there are none, one of its own.
//
// What a client can bring about (a hang-up, a deadline, an object that is refused) raises doubt, and then the service's own write decides.
//
// The package looks at nothing by itself: errors are brought to it, and it writes only when a heartbeat asks.
package health
