// Package background starts the goroutines of both programs, and keeps a panic in one of them from ending the process.
//
// [Group] and [Try] return a panic as an error to their caller. A panic without a waiting caller is reported to the function given to
// [OnPanic], and the goroutine ends; a [Loop] continues after a pause. Without such a function, as in tests and short commands, a panic
// ends the process as usual.
//
// Only this package uses the go statement, time.AfterFunc, context.AfterFunc, sync.WaitGroup.Go and package errgroup: the linter and a test
// check that. Functions that libraries call in goroutines of their own are wrapped in [Guard] or [Try].
//
// Not promised: the Go runtime's fatal errors, such as exhausted memory or concurrent map writes. A lock held during a panic stays locked
// unless it is released by defer.
package background
