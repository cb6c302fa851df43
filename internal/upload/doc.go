// Package upload is the domain: what an upload is, the phases it runs through, how it can end, and what it needs of other packages.
//
// An upload is a stream of members. Its [Source] receives the body and brings each member once it is verified: inflated and checked. Any
// fault rejects the whole upload. While the body arrives, storage is asked for the members that are good by themselves, and large ones that
// it does not have are staged there, where no reader sees them. In the *publish* phase, and never before, the members become visible:
// skipped if storage has them already, replaced if their content differs.
//
// Every upload ends in exactly one [Outcome]. [Service.Run] records it, reports it to the [Observer] and gives back what the upload
// held, whether a client waits for it or not. While it runs, its record says how far it is; if its process dies, the record's silence
// shows it as [Lost].
//
// Adapters (storage, records, the HTTP server) import this package and implement the interfaces it
// declares in ports.go; it knows none of them.
package upload
