// Package chaos is a test: clients upload to the real programs while faults befall everything in turn, and what became of it is read back.
// scripts/chaos runs it for long, and all tests for a minute.
//
// It is a row of rounds, each with a site of its own: storage and records of another kind than the round before. What happens in a
// round, and when it is due, follows from the seed and the round's number; what meets what follows from the machine.
//
// In the end of a round all faults are undone. Then the server must become healthy by itself, take an upload of each client, hold
// nothing for uploads any more, and end well; and what was told to clients must be so: see [lab.Site.ReadBack]. Meanwhile an answer
// may be a 201, a truthful 429, 500, 503 or 504, or none; a broken archive may get a 400. Only faults may end the programs.
package chaos
