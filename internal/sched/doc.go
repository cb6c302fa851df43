// Package sched shares a fixed number of slots among tenants, fairly by the bytes they work on and the time they hold slots.
//
// # What is guaranteed
//
//   - Never are more slots in use than there are, but for stuck ones (below), and none is free while a task that may have it
//     waits: alone, a tenant gets every slot (up to Options.PerTenant). A task that takes several waits until they are free
//     together, and no other is served before it meanwhile.
//   - A freed slot goes to the tenant that has had the least work done for its weight. Work is the bytes of a task, as they were
//     announced, at least 64 KiB, and the time that it holds its slots, a second of one counting as much as 16 MiB. Where storage is
//     well, a task pays for both alike; a tenant whose tasks are slow holds no more slots for that.
//   - Were it for bytes alone, tenants that always have tasks waiting would over any interval be within 2 x the largest task of their
//     shares when weights are equal, however large tasks are, and however many tasks the others have. With weights, a tenant
//     of weight w among n tenants of W in all is within (1 + n x w / W) x the largest. By the time of its tasks in progress a tenant may
//     be ahead of that. Inside a tenant its uploads are equal, and those that come and go hold up none that stays. Inside an
//     upload, tasks are served in the order they came.
//   - A tenant that comes anew is served before all that have had their turn, whatever waits and whatever its own first task
//     costs. (Of several newcomers the first to come is the first served.)
//   - A task that holds its slot for longer than its lease, or than the deadline of its context and Options.Patience,
//     loses it, whatever it does: see [Slot] and [Scheduler.Run].
//   - Waiting is bounded in number by Options.Queue and in time by the caller's context. A task that is no longer
//     waited for costs its tenant nothing.
//   - A task costs O(log n) in the number of tenants and of the tenant's uploads, however many tasks wait. (While slots are stuck, and
//     no other is free, it is O(n).) Memory is bounded by the tasks that wait or run, plus the tenants and uploads that have had more
//     than others; a scheduler with nothing to do remembers nothing.
//
// # What is stuck
//
// With Options.Stuck, a slot is stuck once its task has not told that it gets on for that long, until it does or ends. It is
// not taken away, for it may only be slow. But it does not keep others waiting:
//
//   - Beside stuck slots as many again may be in use as there are, and as many once more by tenants that hold none: [MostInUse] times
//     Options.Slots in all. What slots stand for (connections) must be there for so many.
//   - A tenant hangs while a slot of it is stuck, and then until a task of it has ended well. It has one slot like any other tenant.
//     It gets more when no other waits, none of them beside stuck ones, up to a quarter of the slots; alone, it gets all.
//
// So what hangs keeps no other tenant waiting for longer than Options.Stuck, as long as fewer tenants hang than there are slots. A tenant
// that has no task any more, and owes nothing, is forgotten: it comes as a newcomer then.
//
// # What is not
//
// A task is never interrupted for a fairer distribution. A lost lease frees the slot, not what its task uses: a
// goroutine can't be ended from outside. Options.Runaways bounds how many of those there may be.
//
// # The algorithm
//
// Start-time fair queuing, on two levels of one structure, the fairQueue: of tenants by weight, and in each tenant of its
// uploads. Each flow has a tag, the virtual time at which it is due, and the flow with the lowest is served. A task then needs no look
// at its size before it is served, so the largest delays no one else's first. Tags of flows that hold slots grow with time. They are
// made up to date only when they are the lowest: what is lowest then is so by all.
//
// Tenants come back, and find what they owe; uploads do not. Among uploads virtual time therefore also goes on by the work
// that was done: see fairQueue.
//
// # Locks
//
// A Scheduler has one mutex. It is taken last: nothing that may block, no callback and no foreign lock is entered
// with it held. Under it channels are closed and timers started and stopped, neither of which waits.
package sched
