// Package sched shares a fixed number of slots among tenants, fairly by the bytes they work on and the time they hold slots.
//
// # Guaranteed
//
//   - No more slots are in use than there are, except stuck ones (below), and none is free while a task that may have it
//     waits: a tenant alone gets every slot (up to Options.PerTenant). A task that takes several waits until they are free
//     together, and no other is served before it meanwhile.
//   - A freed slot goes to the tenant that has had the least work done for its weight. Work is a task's announced bytes, at
//     least 64 KiB, and the time that it holds its slots, a second of one counting as 16 MiB. When storage is well, a task
//     pays for both alike; a tenant with slow tasks gets no more slots for that.
//   - By bytes alone, tenants that always have tasks waiting would over any interval be within 2 x the largest task of their
//     shares when weights are equal, for tasks of any size and number. With weights, a tenant of weight w among n
//     tenants of W in all is within (1 + n x w / W) x the largest. By the time of its tasks in progress a tenant may be
//     ahead of that. A tenant's uploads are equal, and those that come and go delay none that stays. An upload's tasks are
//     served in order.
//   - A new tenant is served before all that were served already, whatever waits and whatever its first task costs. (Of
//     several newcomers the first to come is the first served.)
//   - The slot of a task that holds it for longer than its lease, or than the deadline of its context plus Options.Patience,
//     expires, whatever the task does: see [Slot] and [Scheduler.Run].
//   - Waiting is bounded in number by Options.Queue and in time by the caller's context. A task costs its tenant nothing once its
//     caller has left.
//   - A task costs O(log n) in the number of tenants and of the tenant's uploads, however many tasks wait. (While slots are
//     stuck, and no other is free, it is O(n).) Memory is bounded by the waiting and running tasks, plus the tenants and
//     uploads that have had more than others; a scheduler with nothing to do remembers nothing.
//
// # Stuck slots
//
// With Options.Stuck, a slot is stuck once its task has not reported movement for that long, until it does or ends. The task keeps the
// slot, since it may only be slow. But others need not wait for it:
//
//   - Beside stuck slots as many again may be in use as there are, and as many once more by tenants without any: [MostInUse]
//     times Options.Slots in all. There must be as many of what slots stand for (connections).
//   - A tenant hangs while one of its slots is stuck, and then until one of its tasks has ended well. It gets one slot like
//     any other tenant; more only when no other waits, none of them beside stuck ones, up to a quarter of the slots; all
//     when alone.
//
// So hanging tasks delay other tenants by at most Options.Stuck, as long as fewer tenants hang than there are slots. A tenant without tasks
// and debts is forgotten: it comes as a newcomer then.
//
// # Not guaranteed
//
// A task is never interrupted for a fairer distribution. When a slot expires it is free, but its task still uses what it uses: a goroutine
// can't be ended from outside. Options.Runaways bounds their number.
//
// # The algorithm
//
// Start-time fair queuing, on two levels of one structure, the fairQueue: of tenants by weight, and in each tenant of its uploads. Each
// flow has a tag, the virtual time at which it is due, and the flow with the lowest is served. A task's size does not matter before it is
// served, so a large one delays nothing before it. Tags of flows that hold slots grow with time. They are updated only when they are the
// lowest: the lowest updated tag is the lowest of all.
//
// Tenants come back to their debts; uploads do not. So among uploads virtual time also moves with the work done: see fairQueue.
//
// # Locks
//
// A Scheduler has one mutex. It is taken last: nothing that may block, no callback and no foreign lock is entered with it held. Under it
// channels are closed and timers started and stopped, neither of which waits.
package sched
