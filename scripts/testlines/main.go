// Testlines reads "go test -json" from its input and prints what "go test" would have: one line for each
// package, and everything that a failed test wrote. In addition it prints the tests that were skipped,
// each with its reason, which "go test" hides.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxLine bounds one event: a line of a test's output, in JSON.
const maxLine = 16 << 20

// event is a line of "go test -json", as told by "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
}

func main() {
	if err := filter(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testlines:", err)
		os.Exit(1)
	}
}

// filter copies what matters of the events in r to w. A line that is no event is copied as it is.
func filter(r io.Reader, w io.Writer) error {
	held := map[string]map[string][]string{} // output by package and test, until that has ended
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		if held[e.Package] == nil {
			held[e.Package] = map[string][]string{}
		}
		tests := held[e.Package]
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			tests[e.Test] = append(tests[e.Test], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" && e.Action == "fail" {
				printUnfinished(w, tests)
			}
			if e.Test == "" || e.Action != "pass" {
				fmt.Fprint(w, kept(tests[e.Test], e))
			}
			delete(tests, e.Test)
		}
	}
	return lines.Err()
}

// printUnfinished prints what was written by tests that never ended: their process did.
func printUnfinished(w io.Writer, tests map[string][]string) {
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		if test != "" {
			fmt.Fprint(w, strings.Join(tests[test], ""))
		}
	}
}

// kept returns the lines that tell something: not that a test started, paused or went on, and of a
// package that passed only the line that says so.
func kept(lines []string, end event) string {
	var b strings.Builder
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "=== "):
		case end.Test == "" && end.Action == "pass" && !strings.HasPrefix(line, "ok "):
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}
