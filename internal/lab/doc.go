// Package lab runs the real programs with all that is behind them, gives them clients and faults, and reads back what became of it: for
// tests and drills.
//
//	process     a program that was started: its output, its end (package process)
//	Service     a program that is started again whenever it ends, as a supervisor does
//	Site        server, disk manager, storage, records, Redis, and the disks they are on
//	Upload      what a client posts, at its pace, to its end or not; an Attempt is that with its answer
//	Fault       what can be done to a site, and undone
//	ReadBack    compares records, storage and spool with what the clients were told
//
// What is behind a site is package testenv's. It ends with the test, and so do the programs.
package lab
