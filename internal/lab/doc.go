// Package lab runs the real programs with their backing services, gives them clients and faults, measures them, and reads the results back:
// for tests, drills and measurements.
//
//	process     a started program: its output, its end, its use of resources (package process)
//	Service     a program that is restarted whenever it ends, as by a supervisor
//	Site        servers, disk managers, storage, records, Redis, and their disks
//	Instance    a serving server: its heartbeats, its metrics
//	Upload      a client's upload, at its pace, with its ending; an Attempt is that with its answer
//	Fault       a fault of a site, and its undoing
//	Sample      looks at something regularly; InUse is what a server has in use
//	ReadBack    compares records, storage and spool with the clients' answers
//
// A new drill is a test, beside the code it protects: it opens a site, starts its programs, posts uploads, and reads back.
//
//	site := lab.Open(t, lab.Config{Storage: lab.Versitygw})
//	token := site.Token("ci@example.com")
//	server := site.ServeHealthy()
//	u := lab.Upload{Token: token, Label: "a", Archive: archive}
//	a := lab.Attempt{Upload: u, Answer: server.Post(t.Context(), u)}
//	err := server.Stop()
//	verdict, err := site.ReadBack(t.Context(), []lab.Attempt{a})
//
// The backing services are package testenv's. Site and programs end with the test. The package's TestMain calls Run.
package lab
