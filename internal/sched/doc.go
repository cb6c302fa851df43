// Package sched shares a fixed number of slots among tenants, fairly by the bytes they work on.
//
// # What is guaranteed
//
//   - Never are more slots in use than there are, and none is free while a task that may have it waits: alone, a
//     tenant gets every slot (up to Options.PerTenant). A task that takes several waits until they are free together, and
//     no other is served before it meanwhile.
//   - Tenants that always have tasks waiting get bytes in proportion to their weights: over any interval each is
//     within 2 x (largest task + quantum) of its share when weights are equal, however large tasks are, and
//     however many tasks the others have. With weights, a tenant of weight w among n tenants of W in all is
//     within (largest + quantum x w) + (w / W) x (n x largest + quantum x W). Inside a tenant its uploads are equal, and
//     those that come and go hold up none that stays. Inside an upload, tasks are served in the order they came.
//   - A tenant that comes anew gets its first slot no later than the first one freed after the current round, in
//     which each tenant that waits may spend what is left of its quantum, whatever waits and whatever its own
//     first task costs. (Of several newcomers the first to come is the first served.)
//   - A task that holds its slot for longer than its lease, or than the deadline of its context and Options.Patience,
//     loses it, whatever it does: see [Slot] and [Scheduler.Run].
//   - Waiting is bounded in number by Options.Queue and in time by the caller's context. A task that is no longer
//     waited for costs its tenant nothing.
//   - A task costs O(log n) in the number of tenants and of the tenant's uploads, however many tasks wait. Memory is
//     bounded by the tasks that wait or run, plus the tenants and uploads that are in debt; a scheduler with
//     nothing to do remembers nothing.
//
// # What is not
//
// A task is never interrupted for a fairer distribution, and what it really costs is not measured: fairness is in the
// bytes it was announced with, at least 64 KiB each, since a task without bytes takes a slot all the same.
// Time is not shared: a tenant whose storage is slow holds its slots for longer, up to the lease;
// Options.PerTenant bounds that where it matters. A lost lease frees the slot, not what its task uses: a
// goroutine can't be ended from outside. Options.Runaways bounds how many of those there may be.
//
// # The algorithm
//
// Surplus round robin, on two levels of one structure, the ring: of tenants by weight, and in each tenant of its
// uploads. It is the variant of deficit round robin (M. Shreedhar and G. Varghese, "Efficient Fair Queuing using
// Deficit Round Robin", SIGCOMM 1995) in which a flow is served while its deficit is positive, and may overdraw it by
// its last task (H. Adiseshu, G. Parulkar and G. Varghese, "A Reliable and Scalable Striping Protocol", SIGCOMM
// 1996). A task then needs no look at its size before it is served, so the largest delays no one else's first.
//
// In each round a flow may spend its quantum x weight. One that has overdrawn sits out as many rounds as it takes to
// make its deficit positive again. Rounds are never stepped through: each flow carries the number of the round in
// which it goes on, and a heap finds the next. So a task of gigabytes against a quantum of megabytes costs no
// more than any other, and when nobody else waits the number of the round just jumps.
//
// Tenants come back, and find what they owe; uploads do not. Among uploads the rounds therefore also go by the bytes that
// were served: see ring.
//
// # Locks
//
// A Scheduler has one mutex. It is taken last: nothing that may block, no callback and no foreign lock is entered
// with it held. Under it channels are closed and timers started and stopped, neither of which waits.
package sched
