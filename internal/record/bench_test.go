package record_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
)

var benchFiles = flag.Int("files", 1_000_000, "file records of the database that BenchmarkLists asks")

// BenchmarkLists runs every list of the records API on a million file records, at most two pages each: of the default size, and of the
// largest.
//
//	go test -run '^$' -bench Lists -benchtime 20x ./internal/record
//
// A figure is for two pages, if there are two.
func BenchmarkLists(b *testing.B) {
	const each = 100 // files of an upload
	for _, kind := range []struct {
		name string
		url  func() string
	}{
		{"SQLite", func() string { return "sqlite:" + b.TempDir() + "/tecken.db" }},
		{"PostgreSQL", func() string { return testenv.Postgres(b) }},
		{"PgBouncer", func() string { return testenv.PgBouncer(b) }},
	} {
		s := openMigrated(b, kind.url(), record.Options{})
		fill(b, s, *benchFiles/each, each)
		if kind.name != "SQLite" {
			if _, err := raw(b, s).ExecContext(b.Context(), "VACUUM ANALYZE"); err != nil {
				b.Fatal(err)
			}
		}
		for _, q := range questions() {
			b.Run(kind.name+"/"+q.name, func(b *testing.B) { benchQuestion(b, s, q, 100) })
			b.Run(kind.name+"/"+q.name+", 1000 a page", func(b *testing.B) { benchQuestion(b, s, q, 1000) })
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func benchQuestion(b *testing.B, s *record.Store, q question, batch int) {
	rows := q.ask(b, s, batch) // once, to load it into memory
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		q.ask(b, s, batch)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[len(took)/2]), "median-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "worst-ms")
	b.ReportMetric(float64(rows), "rows")
}
