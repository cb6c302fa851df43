// Package drill is a benchmark: it plays two incidents with the real programs, checks that they are survived, and plots what the
// disk went through meanwhile. scripts/drill runs it. It plots seconds, so CI does not run it: the tests of these incidents
// are in cmd/tecken-upload, in killed_test.go and disk_test.go.
//
// A1: the server is killed in the middle of three uploads. A2: the disk fills up with something else.
//
// The spool is on a tmpfs of its own. Where none can be mounted, it is a plain directory, and room is limited by the server's headroom: what
// else is written to that disk meanwhile can then spoil the figures.
package drill
