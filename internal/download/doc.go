// Package download finds symbol files again: by key, by code id, by build id.
//
// A [Finder] looks into storage and into the records, and remembers for a while what it found, and what it did not
// find. What it guarantees:
//
//   - Lookups of one thing at a time share one call. A caller waits no longer than its context allows; the call goes on
//     for the others, and ends when nobody waits any more.
//   - Its calls are bounded: to storage, to the records, and contents being looked into, each apart, so that no kind of
//     lookup takes the place of another, or of uploads. Each takes 8 seconds at most, waiting for its place included; a call
//     that gets none in time fails with upload.ErrUnavailable.
//   - What is remembered is bounded in number and in time: found for 10 minutes, missing for one. Failures are not.
//   - What is stored through [Finder.Uploads] is found from then on: no lookup that began before remembers that it was
//     missing. What another instance stored is found a minute later at the latest.
//   - Regular lookups never answer with what belongs to try uploads.
//
// It does not bound how many contents its callers hold open to send them: however slow a client reads, no lookup waits for
// it. It does not promise that what it remembers is still there: storage may have expired it up to 10 minutes ago.
package download
