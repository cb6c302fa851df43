// Package bench is a benchmark: it repeats the measurements of docs/performance.md with the real server, a plain static build of it,
// versitygw as S3, SQLite, everything on this machine's loopback. scripts/bench runs it.
//
//	scripts/bench                 all rows
//	scripts/bench cpu readback    these rows
//	scripts/bench -size 50MiB     all rows, with smaller archives: to try it out, the targets do not hold
//
// Whatever a row uploads is read back from storage and compared with what went in; the row "readback" adds uploads of every format to that.
// The tests do the short rows with small archives.
//
// CPU is counted in seconds of the server's process, not in elapsed time, but on a busy machine these grow
// too: caches are shared. Each figure comes with its spread.
package bench
