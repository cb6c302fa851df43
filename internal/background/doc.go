// Package background starts the goroutines of both programs, and keeps a panic in one of them from ending the process.
//
// [Group] and [Try] return a panic as an error to their caller. A panic without a caller that waits is reported to the
// function given to [OnPanic], and the goroutine ends; a [Loop] goes on after a pause. Without such a function, as in tests
// and in commands that end by themselves, a panic ends the process, as anywhere in Go.
//
// The go statement, time.AfterFunc, context.AfterFunc, sync.WaitGroup.Go and package errgroup are for this package alone: the
// linter and a test see to that. What libraries call in goroutines of their own is guarded where they get it, with [Guard] or [Try].
//
// Not promised: what the Go runtime itself ends the process for, such as memory that is used up or a map that is written to
// twice at once. Locks that a panic leaves locked stay so: hold them with defer.
package background
