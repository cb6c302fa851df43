package telemetry

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/getsentry/sentry-go"
)

// frames reads runtime/debug.Stack's text: for each call a line with the function and an indented one with the file. It leaves out the
// panic and what came after it, and returns the innermost call last, as Sentry wants it. A text in another form has no frames.
func frames(stack []byte) []sentry.Frame {
	lines := strings.Split(string(stack), "\n")
	var out []sentry.Frame
	for i := 0; i+1 < len(lines); i++ {
		place, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		if strings.HasPrefix(lines[i], "panic(") {
			out = nil
			continue
		}
		if f := frame(lines[i], place); f.Module != "runtime" && f.Module != "runtime/debug" {
			out = append(out, f)
		}
	}
	slices.Reverse(out)
	return out
}

// frame reads "pkg/path.(*Type).Method(0x1, {0x2, 0x3})" and "/dir/file.go:12 +0x34".
func frame(call, place string) sentry.Frame {
	call = strings.TrimPrefix(call, "created by ")
	call, _, _ = strings.Cut(call, " in goroutine ")
	if i := strings.LastIndexByte(call, '('); i > 0 && strings.HasSuffix(call, ")") && call[i-1] != '.' {
		call = call[:i]
	}
	f := sentry.Frame{Function: call}
	dir, base := path.Split(call)
	if pkg, function, ok := strings.Cut(base, "."); ok {
		f.Module, f.Function = dir+pkg, function
	}
	file, line, _ := strings.Cut(place, ":")
	line, _, _ = strings.Cut(line, " ")
	f.AbsPath, f.Filename = file, path.Base(file)
	f.Lineno, _ = strconv.Atoi(line)
	f.InApp = f.Module == "main" || strings.HasPrefix(f.Module, "tecken-upload/")
	return f
}
