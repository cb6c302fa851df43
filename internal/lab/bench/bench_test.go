package bench

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

var (
	size     = 500 * config.MiB
	pairs    = flag.Int("pairs", 5, "how often the server's CPU seconds are compared with the reference's")
	uploads  = flag.Int("uploads", 200, "of the row leak")
	programs = flag.String("programs", "", "the `directory` of the programs to measure; they are built where it is not given")
)

// A row is a measurement, of one or more lines of the table.
type row struct {
	name    string
	measure func(b *bench)
}

// rows are those there are, in the order they run in.
var rows = []row{
	{"spool", measureSpool},
	{"cpu", measureCPU},
	{"memory8", measureMemory8},
	{"memory1", measureMemory1},
	{"headers", measureHeaders},
	{"decoders", measureDecoders},
	{"leak", measureLeak},
	{"lookups", measureLookups},
	{"readback", measureReadback},
}

func TestMain(m *testing.M) {
	flag.Func("size", "of an archive (default 500MiB); memory1 uploads one four times as large",
		func(s string) error { return size.UnmarshalText([]byte(s)) })
	flag.Parse()
	if playsChild() {
		return
	}
	os.Exit(lab.Run(m))
}

// BenchmarkRows measures the rows that the command line names, or all of them, and prints one Markdown table.
func BenchmarkRows(b *testing.B) {
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			b.Fatalf("there is no row %q", name)
		}
	}
	all := &bench{TB: b, size: int64(size), run: newRun(os.Stderr)}
	for _, r := range rows {
		if flag.NArg() == 0 || slices.Contains(flag.Args(), r.name) {
			all.part(r.name, r.measure)
		}
	}
	all.addCompared()
	fmt.Fprintf(os.Stdout, "\n\n%s\n", all.table())
}

// TestShortRows measures what depends on no archive's size, and takes no time.
func TestShortRows(t *testing.T) {
	b := &bench{TB: t, size: 1 << 20, run: newRun(io.Discard)}
	b.part("memory1", measureMemory1)
	b.part("readback", measureReadback)
	b.addCompared()
	table := strings.Split(b.table(), "\n")
	if len(table) != 4 || !strings.Contains(table[2], "MiB (idle: ") || !strings.Contains(table[3], "objects of 7 uploads") {
		t.Errorf("the table is\n%s", strings.Join(table, "\n"))
	}
}

// A result is one line of the table.
type result struct {
	measure, target, measured string
	missed                    bool // the target was not reached
}

// A run is what all rows share.
type run struct {
	progress io.Writer
	begin    time.Time
	archives map[testarchive.Spec]*lab.Archive
	results  []result
	total    lab.Verdict
}

func newRun(progress io.Writer) *run {
	return &run{progress: progress, begin: time.Now(), archives: make(map[testarchive.Spec]*lab.Archive)}
}

// A bench is a part of a run: a row, or what a row measures first.
type bench struct {
	testing.TB
	*run
	size int64
}

// part measures a part of its own, and ends what was started for it. Where it fails, the bench goes on with the next.
func (b *bench) part(name string, measure func(b *bench)) {
	b.say("%s", name)
	sub := func(t testing.TB) { measure(&bench{TB: t, run: b.run, size: b.size}) }
	switch t := b.TB.(type) {
	case *testing.B:
		t.Run(name, func(t *testing.B) { sub(t) })
	case *testing.T:
		t.Run(name, func(t *testing.T) { sub(t) })
	}
}

// say tells the user what goes on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "==> [%3.0f] %s\n", time.Since(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// add adds a line to the table, and fails where the target was missed.
func (b *bench) add(r result) {
	b.results = append(b.results, r)
	if r.missed {
		b.Errorf("target missed: %s: %s, not %s", r.measure, r.measured, r.target)
	}
}

// atMost adds a line about bytes of memory.
func (b *bench) atMost(target, measured int64, note, measure string, args ...any) {
	b.add(result{
		measure: fmt.Sprintf(measure, args...), target: fmt.Sprintf("≤ %.0f MiB", mebi(target)),
		measured: fmt.Sprintf("%.0f MiB", mebi(measured)) + note, missed: measured > target,
	})
}

func (r *run) table() string {
	text := "| measure | target | measured |\n|---|---|---|"
	for _, line := range r.results {
		text += fmt.Sprintf("\n| %s | %s | %s |", line.measure, line.target, line.measured)
	}
	return text
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// must fails the part where there is an error.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// archive makes the archive that spec describes, or returns what was made before.
func (b *bench) archive(spec testarchive.Spec) *lab.Archive {
	b.Helper()
	if b.archives[spec] == nil {
		b.say("making a %s of %s", spec.Format, megabytes(spec.Bytes))
		a, err := lab.CreateArchive(os.TempDir(), spec)
		b.must(err)
		b.archives[spec] = a
	}
	return b.archives[spec]
}

// A site is a server with storage, records and spool of its own, all of them empty at first.
type site struct {
	*bench
	*lab.Site
	*lab.Instance
	token string

	mu       sync.Mutex
	attempts []lab.Attempt
}

// open starts a site, with its spool in that directory, or beside the rest where it is "".
func (b *bench) open(spool string) *site {
	b.Helper()
	settings := map[string]string{}
	if spool != "" {
		settings["TECKEN_SPOOL_DIR"] = spool
	}
	s := &site{bench: b, Site: lab.Open(b, lab.Config{Programs: *programs, Storage: lab.Versitygw, Settings: settings})}
	s.token = s.Token("bench@example.com")
	s.Instance = s.ServeHealthy()
	return s
}

// post makes an attempt, which is compared in the end.
func (s *site) post(u lab.Upload) lab.Answer {
	s.mu.Lock()
	s.attempts = append(s.attempts, lab.Attempt{})
	n := len(s.attempts) - 1
	s.mu.Unlock()
	u.Label = fmt.Sprintf("u%d", n)
	if u.Token == "" {
		u.Token = s.token
	}
	a := s.Post(s.bench.Context(), u)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[n] = lab.Attempt{Upload: u, Answer: a}
	return a
}

// upload posts archives at once, which must all be accepted, and returns how long that took.
func (s *site) upload(archives ...*lab.Archive) time.Duration {
	s.bench.Helper()
	begin := time.Now()
	var clients sync.WaitGroup
	for _, a := range archives {
		clients.Go(func() {
			if answer := s.post(lab.Upload{Archive: a}); answer.Status != 201 {
				s.bench.Errorf("answered %v", answer)
			}
		})
	}
	clients.Wait()
	if s.bench.Failed() {
		s.bench.FailNow()
	}
	return time.Since(begin)
}

// compare ends the server, which must end well, and reads back all that was uploaded to it.
func (s *site) compare() {
	s.bench.Helper()
	s.must(s.Stop())
	v, err := s.ReadBack(s.bench.Context(), s.attempts)
	s.must(err)
	for _, wrong := range v.Wrong {
		s.bench.Error(wrong)
	}
	s.total.Wrong = append(s.total.Wrong, v.Wrong...)
	s.total.Accepted += v.Accepted
	s.total.Objects += v.Objects
	s.total.Bytes += v.Bytes
}

// measureReadback uploads archives of every format, and compares what became of them.
func measureReadback(b *bench) {
	s := b.open("")
	for i, spec := range []testarchive.Spec{
		{Mix: testarchive.RealMix, Format: testarchive.Zip, Listing: true},
		{Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true},
		{Mix: testarchive.PlainMix, Format: testarchive.Zip},
		{Mix: testarchive.PlainMix, Format: testarchive.Tar},
		{Mix: testarchive.RealMix, Format: testarchive.TarGzip, Listing: true},
		{Mix: testarchive.OnlySym, Format: testarchive.TarZstd},
	} {
		spec.Seed, spec.Bytes = uint64(100+i), b.size/10
		s.upload(b.archive(spec))
	}
	s.compare()
}

// addCompared tells what was compared in all; a difference has failed the run. Nothing to compare is no equality.
func (b *bench) addCompared() {
	if b.total.Accepted > 0 {
		b.add(result{
			measure: "objects read back and compared with what was uploaded", target: "equal",
			measured: fmt.Sprintf("equal: %d objects of %d uploads, %.1f GiB", b.total.Objects, b.total.Accepted, mebi(b.total.Bytes)/1024),
			missed:   len(b.total.Wrong) > 0,
		})
	}
}
