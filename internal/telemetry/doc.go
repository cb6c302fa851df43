// Package telemetry reports what the programs do: to a log, to Prometheus and to Sentry.
//
// The facts of an event are a list of [slog.Attr]. The log line and the Sentry event get the same list, so they agree. In both, durations
// are seconds, sizes bytes, times RFC 3339 in UTC. Signatures of presigned URLs, Auth-Token and Authorization headers and passwords in URLs
// are cut out wherever they stand; scrub.go lists the recognised forms, and a secret in another form is not recognised. Text is cut at 8
// KiB.
//
// Log lines are JSON objects with the keys time, level, msg and instance, then the facts.
//
// Labels of metrics come from fixed sets: never a file name, a key, a tenant or a client's text.
//
// Reporting to Sentry never blocks. Events go into a queue of 100 in memory, and one goroutine sends them. Events that find it full are
// dropped, and their number is reported. Events that are unsent when the process ends are lost, except as in [Reporter.Close].
//
// The package links neither the web framework nor S3, SQL or archive readers: the disk manager uses it too.
package telemetry
