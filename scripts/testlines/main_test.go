package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `package sample

import "testing"

func TestPass(t *testing.T) { t.Log("not shown") }
func TestSkip(t *testing.T) { t.Skip("install it") }
func TestFail(t *testing.T) {
	t.Run("one", func(t *testing.T) { t.Log("seen"); t.Fail() })
	t.Run("two", func(t *testing.T) { t.Log("not shown") })
}
`

// seconds are what differs between two runs.
var seconds = regexp.MustCompile(`\d+\.\d+s`)

func TestFilter(t *testing.T) {
	tests := []struct{ name, source, want, run string }{
		{"a failure", sample, `    a_test.go:6: install it
--- SKIP: TestSkip (Ts)
    a_test.go:8: seen
--- FAIL: TestFail/one (Ts)
--- FAIL: TestFail (Ts)
FAIL
exit status 1
FAIL	sample	Ts
`, "."},
		{"a skip in a package that passed", sample, `    a_test.go:6: install it
--- SKIP: TestSkip (Ts)
ok  	sample	Ts
`, "Pass|Skip"},
		{"does not compile", "package sample\n\nvar x int = nil\n", `# sample [sample.test]
./a_test.go:3:13: cannot use nil as int value in variable declaration
FAIL	sample [build failed]
`, "."},
		{"the process ends", "package sample\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" +
			"func TestExit(t *testing.T) { t.Log(\"last words\"); os.Exit(7) }\n", `=== RUN   TestExit
    a_test.go:8: last words
exit status 7
FAIL	sample	Ts
`, "."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "go.mod"), "module sample\n\ngo 1.26\n")
			write(t, filepath.Join(dir, "a_test.go"), test.source)
			goTest := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-json", "-run="+test.run)
			goTest.Dir = dir
			events, _ := goTest.Output() // of a package that fails: the exit status is part of the case
			var got strings.Builder
			if err := filter(strings.NewReader(string(events)), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, seconds.ReplaceAllString(got.String(), "Ts")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
