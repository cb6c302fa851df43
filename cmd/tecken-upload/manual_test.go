package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// Every metric of the server that the manual and the alerts name is there, under that name.
func TestTheMetricsOfTheManual(t *testing.T) {
	t.Parallel()
	var text []byte
	for _, path := range []string{"docs/operations.md", "deploy/alerts.yaml"} {
		part, err := os.ReadFile(filepath.Join(testenv.Root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	d := startDaemon(t, nil)
	content := makeArchive(t, testarchive.Spec{Seed: 7})
	d.expectPost(content, http.StatusCreated)
	d.text(d.URL("/" + content.Members[0].Name)) // a lookup
	samples := d.text("http://" + d.Metrics + "/metrics")
	named := 0
	for _, name := range regexp.MustCompile(`tecken_[a-z0-9_]+`).FindAllString(string(text), -1) {
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

// The alerts fire when they should: deploy/alerts_test.yaml says when.
func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		testenv.Missing(t, "promtool", "scripts/test installs Debian's package prometheus.")
	}
	deploy := filepath.Join(testenv.Root(t), "deploy")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		promtool := exec.CommandContext(t.Context(), "promtool", args...)
		promtool.Dir = deploy
		if out, err := promtool.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
