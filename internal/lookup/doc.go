// Package lookup finds stored symbol files: by key, in any case; by code id; by the build id or UUID of a binary.
//
// A [Finder] searches storage and the records, and caches hits and misses. Guaranteed:
//
//   - Simultaneous lookups of one thing share one call. A caller waits no longer than its context allows; the call goes
//     on for the others, and ends with the last.
//   - Calls to storage, calls to the records, and contents being examined are each bounded apart, so that no kind of
//     lookup blocks another, or uploads. Each takes at most 8 seconds, the wait for its slot included; a call without a
//     slot in time fails with upload.ErrUnavailable. Measuring a gzip file takes at most 30 seconds.
//   - A file that is stored under the requested key is found in storage alone. Another one costs at most one call to the
//     records. While they are away, storage alone answers what it can, and hardly waits for them.
//   - The cache is bounded in number and in time: hits for 10 minutes, misses for one. Failures are not cached.
//   - What is stored through [Finder.Uploads] is found from then on: no earlier lookup caches it as missing. What another
//     instance stored is found at most a minute later.
//   - Regular lookups never return files of try uploads. A module says whether it is of one.
//
// It does not bound the contents that its callers hold open to send them: no lookup waits for a slow client. It does not promise that
// cached files still exist: storage may have expired them up to 10 minutes ago.
package lookup
