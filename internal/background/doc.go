// Package background starts the goroutines of both programs, and keeps a panic in one of them from ending the process.
//
// A panic is somebody's error wherever somebody waits: a [Group] returns it, and so does [Try]. A panic for which nobody
// waits is reported to the function given to [OnPanic], and the goroutine ends; a [Loop] goes on after a pause. Where
// no function was given, as in tests and in commands that end by themselves, a panic ends the process, as anywhere in Go.
//
// The go statement, time.AfterFunc, context.AfterFunc, sync.WaitGroup.Go and package errgroup are for this package alone: the
// linter and a test see to that. What libraries call in goroutines of their own is guarded where they get it, with [Guard] or [Try].
//
// Not promised: what the Go runtime itself ends the process for, such as memory that is used up or a map that is written to
// twice at once. Locks that a panic leaves locked stay so: hold them with defer.
package background
