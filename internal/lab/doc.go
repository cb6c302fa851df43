// Package lab runs the real programs with all that is behind them, gives them clients and faults, measures them, and reads back what became
// of it: for tests, drills and measurements.
//
//	process     a program that was started: its output, its end, what it uses (package process)
//	Service     a program that is started again whenever it ends, as a supervisor does
//	Site        servers, disk managers, storage, records, Redis, and the disks they are on
//	Instance    a server that serves: its heartbeats, its metrics
//	Upload      what a client posts, at its pace, to its end or not; an Attempt is that with its answer
//	Fault       what can be done to a site, and undone
//	Sample      looks at something again and again; InUse is what a server has in use
//	ReadBack    compares records, storage and spool with what the clients were told
//
// A new drill is a test: it opens a site, starts its programs, posts uploads, and reads back.
//
//	site := lab.Open(t, lab.Config{Storage: lab.Versitygw})
//	token := site.Token("ci@example.com")
//	server := site.ServeHealthy()
//	u := lab.Upload{Token: token, Label: "a", Archive: archive}
//	a := lab.Attempt{Upload: u, Answer: server.Post(t.Context(), u)}
//	err := server.Stop()
//	verdict, err := site.ReadBack(t.Context(), []lab.Attempt{a})
//
// What is behind a site is package testenv's. It ends with the test, and so do the programs. The package's TestMain calls Run.
package lab
