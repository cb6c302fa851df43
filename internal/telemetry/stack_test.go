package telemetry

import (
	"runtime/debug"
	"testing"

	"github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"
)

const goexit = `goroutine 7 [running]:
runtime/debug.Stack()
	/go/src/runtime/debug/stack.go:26 +0x5e
tecken-upload/internal/upload.(*Pipeline).guard.func1()
	/src/internal/upload/pipeline.go:40 +0x25
panic({0x45f3a0?, 0x4a1b20?})
	/go/src/runtime/panic.go:787 +0x132
example.com/zip%2ev2/deep.Open[...](0xc000012345, {0x1, 0x2})
	/mod/deep/open.go:20 +0x5
tecken-upload/internal/upload.(*Pipeline).Run(...)
	/src/internal/upload/pipeline.go:60
main.main()
	/src/cmd/x/main.go:9 +0x1d
created by tecken-upload/internal/web.(*Server).Serve in goroutine 1
	/src/internal/web/server.go:80 +0x3b
`

func TestFrames(t *testing.T) {
	want := []sentry.Frame{
		{Module: "tecken-upload/internal/web", Function: "(*Server).Serve", AbsPath: "/src/internal/web/server.go", Filename: "server.go", Lineno: 80, InApp: true},
		{Module: "main", Function: "main", AbsPath: "/src/cmd/x/main.go", Filename: "main.go", Lineno: 9, InApp: true},
		{Module: "tecken-upload/internal/upload", Function: "(*Pipeline).Run", AbsPath: "/src/internal/upload/pipeline.go", Filename: "pipeline.go", Lineno: 60, InApp: true},
		{Module: "example.com/zip%2ev2/deep", Function: "Open[...]", AbsPath: "/mod/deep/open.go", Filename: "open.go", Lineno: 20},
	}
	if diff := cmp.Diff(want, frames([]byte(goexit))); diff != "" {
		t.Error(diff)
	}
}

func TestFramesOfRealPanics(t *testing.T) {
	for name, fail := range map[string]func(){
		"value":   func() { panic("boom") },
		"nil":     func() { advance(nil) },
		"index":   func() { first([]int{}) },
		"repanic": func() { defer func() { panic(recover()) }(); panic("boom") },
	} {
		got := frames(stackOf(fail))
		if len(got) == 0 || got[len(got)-1].Module != "tecken-upload/internal/telemetry" || !got[len(got)-1].InApp {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func advance(f *sentry.Frame) { f.Lineno++ }

func first(s []int) int { return s[0] }

func stackOf(fail func()) (stack []byte) {
	defer func() {
		_ = recover() // only the stack is needed
		stack = debug.Stack()
	}()
	fail()
	return nil
}

func TestFramesOfAnotherText(t *testing.T) {
	for _, text := range []string{"", "\n", "\t", "x\n\t", "panic(\n\t", "(\n\t:", ")\n\t: ", "a.\n\tb:c"} {
		for _, f := range frames([]byte(text)) {
			if f.InApp {
				t.Errorf("%q: %+v", text, f)
			}
		}
	}
	if got := frames([]byte("no stack at all")); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
