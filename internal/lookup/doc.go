// Package lookup finds symbol files again: by key, in any case; by code id; by the build id or UUID of a binary.
//
// A [Finder] looks into storage and into the records, and remembers for a while what it found, and what it did not
// find. What it guarantees:
//
//   - Lookups of one thing at a time share one call. A caller waits no longer than its context allows; the call goes on
//     for the others, and ends with the last caller.
//   - Its calls are bounded: to storage, to the records, and contents being looked into, each apart, so that no kind of
//     lookup takes the place of another, or of uploads. Each takes 8 seconds at most, waiting for its place included; a call
//     that gets none in time fails with upload.ErrUnavailable. To measure what a gzip file holds takes 30 seconds at most.
//   - A file that is stored as it was asked for is found in storage alone. One that is not costs one call to the records, at most.
//     While they are away, storage alone answers what it can, and hardly waits for them.
//   - What is remembered is bounded in number and in time: found for 10 minutes, missing for one. Failures are not.
//   - What is stored through [Finder.Uploads] is found from then on: no lookup that began before remembers that it was
//     missing. What another instance stored is found a minute later at the latest.
//   - Regular lookups never answer with what belongs to try uploads. What is told of a module says whether it is of one.
//
// It does not bound how many contents its callers hold open to send them: however slow a client reads, no lookup waits for
// it. It does not promise that what it remembers is still there: storage may have expired it up to 10 minutes ago.
package lookup
