package drill

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", name, diff)
	}
}

// recorded is a play of 36 s: a climb, a server that is away and red afterwards, two events at one time, a peak between
// two columns' edges, and a gap of 4 s without a sample.
func recorded() recording {
	r := recording{Title: "bytes used <here>", Capacity: 200 * mib}
	for at := time.Duration(0); at <= 36*time.Second; at += 100 * time.Millisecond {
		s := sample{At: at, Balancer: green, Health: green, Workspaces: 0}
		switch {
		case at < 12*time.Second:
			s.Used, s.Workspaces = int64(at/time.Second)*16*mib, int(at/time.Second)
		case at < 15*time.Second:
			s.Balancer, s.Health = none, none
		case at >= 20*time.Second && at < 24*time.Second:
			continue
		case at >= 24*time.Second && at < 30*time.Second:
			s.Used, s.Balancer, s.Health = 100*mib, green, red
		case at == 33200*time.Millisecond:
			s.Used, s.Balancer = 250*mib, red
		case at == 33300*time.Millisecond:
			s.Balancer = none
		}
		r.Samples = append(r.Samples, s)
	}
	r.Events = []event{
		{0, "it begins"}, {12 * time.Second, "the server goes"}, {12100 * time.Millisecond, "& its space"}, {36 * time.Second, "it ends"},
	}
	return r
}

func TestText(t *testing.T) {
	golden(t, "plot.txt", recorded().text())
}

func TestTextOfNothing(t *testing.T) {
	for line := range strings.Lines(recording{Title: "nothing", Capacity: mib}.text()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 13+plotColumns {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// The picture is well-formed, whatever texts are in it.
func TestSVG(t *testing.T) {
	picture := recorded().svg()
	golden(t, "plot.svg", picture)
	decoder := xml.NewDecoder(strings.NewReader(picture))
	var texts []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, string(text))
		}
	}
	if all := strings.Join(texts, "\n"); !strings.Contains(all, "bytes used <here>") || !strings.Contains(all, " 12.1 s: & its space") {
		t.Errorf("the texts are %q", all)
	}
}
