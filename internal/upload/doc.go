// Package upload is the domain: what an upload is, the two phases it runs through, how it can end, and
// what it needs of the rest of the house.
//
// An upload is received into a spool workspace, then processed. In the *verify* phase every member of
// the archive is inflated and checked; any fault rejects the whole archive. In the *publish* phase, and
// never before, the members go to storage: skipped where storage has them already, replaced where their
// content differs. Every upload ends in exactly one [Outcome], which is recorded.
//
// Adapters (storage, records, the HTTP server) import this package and implement the interfaces it
// declares in ports.go; it knows none of them.
package upload
