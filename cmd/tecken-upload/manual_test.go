package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"tecken-upload/internal/testarchive"
)

// Every metric of the server that the manual tells operators of is there, under that name.
func TestTheMetricsOfTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, nil)
	content, manifest := makeArchive(t, testarchive.Spec{Seed: 7})
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	d.text(d.url + "/" + manifest.Members[0].Name) // a lookup
	samples := d.text(d.metrics)
	named := 0
	for _, name := range regexp.MustCompile(`tecken_[a-z0-9_]+`).FindAllString(string(manual), -1) {
		if strings.HasPrefix(name, "tecken_janitor_") || strings.HasSuffix(name, "_") { // the disk manager's; several
			continue
		}
		named++
		if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(samples) {
			t.Errorf("no metric %s", name)
		}
	}
	if named < 20 {
		t.Errorf("the manual names %d metrics", named)
	}
}
