package background_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"strings"
	"testing"
)

// Of all packages of the two programs only this one has go statements. The linter, which has no such rule, refuses the functions that start
// goroutines.
func TestGoroutinesAreStartedHere(t *testing.T) {
	const format = `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, "tecken-upload/cmd/tecken-upload", "tecken-upload/cmd/disk-manager")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	here := 0
	for _, path := range strings.Fields(string(out)) {
		statements := goStatements(t, path)
		if strings.Contains(path, "/internal/background/") {
			here += len(statements)
			continue
		}
		for _, at := range statements {
			t.Errorf("%s: a go statement; use background.Go, or a background.Group", at)
		}
	}
	if here != 1 {
		t.Errorf("%d go statements in this package, not 1: are its files among\n%s", here, out)
	}
}

func goStatements(t *testing.T, path string) (found []token.Position) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if statement, ok := n.(*ast.GoStmt); ok {
			found = append(found, files.Position(statement.Pos()))
		}
		return true
	})
	return found
}
