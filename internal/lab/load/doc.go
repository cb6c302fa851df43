// Package load loads the real server with many clients at once, and checks what it promises under load. It is a test that takes as long as
// it is told: three seconds as one test among others, three minutes as scripts/load runs it.
//
// The clients behave like those in the field: they send all of a body before they read the answer, and retry what was refused with 429 or
// 503; most with a back-off of their own, which gives up after some 15 seconds, some as Retry-After says. Some send slowly, some in chunks,
// some wait for a 100 Continue, some hang up. Several tenants share the server, and one has most of the clients. What is sent follows from
// the seed; when it is sent, from the machine.
//
// Promised are: no error other than truthful refusals, each of which the server counts as one, and none before the wait for room; none at
// all for a few clients that are alone, after the run; no error in the server's log; every object of every accepted upload is in storage and
// equal to what was sent, and nothing else is there; every accepted upload is recorded once, and none as completed that was not; the server
// opens no more connections to storage than its pool has, and others only for those that were lost; soon after the last answer nothing is in
// use any more. The result is a Markdown table; a promise that is broken fails the test.
//
// Clients, server and storage share a machine, so that the figures for information tell little of the server alone.
package load
