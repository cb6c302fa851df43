// Package telemetry tells what the programs do: to a log, to Prometheus and to Sentry.
//
// What explains an event is a list of [slog.Attr], its facts. The same list goes to the log line and to the
// Sentry event, so that the two cannot differ. In both, durations are numbers of seconds, sizes numbers of
// bytes, times RFC 3339 in UTC; signatures of presigned URLs, Auth-Token and Authorization headers and
// passwords in URLs are cut out, wherever in a text they stand (see scrub.go for what is recognised: a
// secret in a form not listed there is not). Text is cut at 8 KiB.
//
// Log lines are JSON objects with the keys time, level, msg and instance, then the facts.
//
// Labels of metrics come from fixed sets: never a file name, a key, a tenant or a text that a client chose.
//
// Reporting to Sentry never blocks: an event is put into a queue of 100, in memory; one goroutine sends
// it. What finds the queue full is dropped, and Sentry is told of how many. Nothing is promised about events
// that were not sent when the process ends, save by [Reporter.Close].
//
// The package links neither the web framework nor S3 nor SQL nor anything that reads archives: the disk manager uses
// it too.
package telemetry
