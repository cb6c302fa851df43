package web_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

const program = `int answer(int x)
{
	return x + 42;
}
int main(void)
{
	return answer(1) == 43 ? 0 : 1;
}
`

// built is a program, as a build leaves it for its users and for its debuggers.
type built struct {
	whole           string // file: with its debug information in it
	stripped, debug string // files
	buildID         string // hexadecimal, in lower case
	debugID         string // as dump_syms makes it of the build id
}

// build compiles a program with debug information and separates the two.
func build(t *testing.T) built {
	t.Helper()
	for tool, pkg := range map[string]string{"gcc": "gcc libc6-dev", "objcopy": "binutils", "debuginfod-find": "debuginfod", "gdb": "gdb", "eu-strip": "elfutils"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Missing(t, tool, "apt-get install "+pkg)
		}
	}
	dir := t.TempDir()
	b := built{whole: filepath.Join(dir, "app.whole"), stripped: filepath.Join(dir, "app"), debug: filepath.Join(dir, "app.dbg")}
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, "gcc", "-g", "-O0", "-Wl,--build-id=sha1", "-o", "app", "main.c")
	run(t, dir, nil, "objcopy", "--only-keep-debug", "app", "app.dbg")
	run(t, dir, nil, "cp", "app", "app.whole")
	run(t, dir, nil, "strip", "app")
	notes := run(t, dir, nil, "readelf", "-n", "app")
	b.buildID = regexp.MustCompile(`Build ID: ([0-9a-f]{40})`).FindStringSubmatch(notes)[1]
	b.debugID = debugIDOf(t, b.buildID)
	return b
}

// debugIDOf makes a debug id of a build id: its first 16 bytes as a GUID, and an age of 0.
func debugIDOf(t *testing.T, buildID string) string {
	t.Helper()
	id, err := hex.DecodeString(buildID)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{id[0:4], id[4:6], id[6:8]} {
		for i, j := 0, len(part)-1; i < j; i, j = i+1, j-1 {
			part[i], part[j] = part[j], part[i]
		}
	}
	return fmt.Sprintf("%X0", id[:16])
}

// files are what a build uploads: the debug information as it is or as gzip, and the program.
func (b built) files(t *testing.T, zipped bool) map[string]string {
	t.Helper()
	prefix := "app/" + b.debugID + "/"
	files := map[string]string{
		prefix + "app.sym":     "MODULE Linux x86_64 " + b.debugID + " app\nINFO CODE_ID " + strings.ToUpper(b.buildID) + "\n",
		prefix + "app":         readAll(t, b.stripped),
		prefix + "app.tar.bz2": "BZh91AY",
	}
	if !zipped {
		files[prefix+"app.debug"] = readAll(t, b.debug)
		return files
	}
	var text bytes.Buffer
	w := gzip.NewWriter(&text)
	_, err := w.Write([]byte(readAll(t, b.debug)))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	files[prefix+"app.dbg.gz"] = text.String()
	return files
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// run runs a program and returns what it printed.
func run(t *testing.T, dir string, environ []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// debugger is the environment in which debuginfod's clients ask the site alone, with nothing remembered.
func (s *site) debugger() []string {
	s.Helper()
	return []string{"DEBUGINFOD_URLS=" + s.url, "DEBUGINFOD_CACHE_PATH=" + s.TempDir(), "DEBUGINFOD_TIMEOUT=60", "LC_ALL=C"}
}

// Real debuggers find what was uploaded, in whatever form, in both storages.
func TestDebuggersFindBinaries(t *testing.T) {
	b := build(t)
	s3 := testenv.S3(t)
	for name, change := range map[string]func(*web.Config, *upload.Config){
		"directory": func(*web.Config, *upload.Config) {},
		"S3":        withS3(t, s3, s3.Endpoint, ""),
	} {
		for _, zipped := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, gzip %t", name, zipped), func(t *testing.T) {
				s := newSite(t, change, withDownloads())
				s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/debuginfo")
				s.publish(s.token, b.files(t, zipped))
				environ := s.debugger()
				for kind, want := range map[string]string{"debuginfo": b.debug, "executable": b.stripped} {
					path := strings.TrimSpace(run(t, "", environ, "debuginfod-find", kind, b.buildID))
					if readAll(t, path) != readAll(t, want) {
						t.Errorf("debuginfod-find %s gave other bytes", kind)
					}
				}
				out := run(t, "", environ, "gdb", "-nx", "-batch", "-ex", "set debuginfod enabled on", "-ex", "file "+b.stripped, "-ex", "info line answer")
				if !strings.Contains(out, `Line 2 of "main.c"`) {
					t.Errorf("gdb does not find the line:\n%s", out)
				}
				s.wantBinaryHeaders(b)
			})
		}
	}
}

// wantBinaryHeaders asks for a binary in ways that the debuggers above do not.
func (s *site) wantBinaryHeaders(b built) {
	s.Helper()
	text := readAll(s.T, b.debug)
	path := "/buildid/" + strings.ToUpper(b.buildID) + "/debuginfo"
	for _, accept := range []string{"identity", "gzip"} {
		head := s.wantStatus(200, "HEAD", path, "Accept-Encoding", accept)
		resp, body := s.fetch("GET", path, "Accept-Encoding", accept)
		length := fmt.Sprint(len(body)) // LLVM 14 takes no answer without it
		if resp.Header.Get("Content-Encoding") == "gzip" {
			body = gunzip(s.T, body)
		}
		if body != text {
			s.Errorf("with %s: other bytes", accept)
		}
		for _, r := range []*http.Response{resp, head} {
			wantHeader(s.T, r, "X-Debuginfod-Size", fmt.Sprint(len(text)), "Content-Type", "application/octet-stream", "Vary", "Accept-Encoding", "Content-Length", length)
			if !strings.HasPrefix(r.Header.Get("X-Debuginfod-File"), "app.d") {
				s.Errorf("X-Debuginfod-File is %q", r.Header.Get("X-Debuginfod-File"))
			}
		}
	}
	resp, part := s.fetch("GET", "/buildid/"+b.buildID+"/executable", "Range", "bytes=1-3")
	if resp.StatusCode != http.StatusPartialContent || part != "ELF" {
		s.Errorf("a range: status %d, %q", resp.StatusCode, part)
	}
	s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/source/main.c")
	s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/section/.text")
}

// The debug id of a key is made of the first 16 bytes of a build id: the other four are looked at as well. And what
// is at hand is not given away for what it is not.
func TestBinariesOfOtherBuilds(t *testing.T) {
	s := newSite(t, withDownloads())
	b := build(t)
	other := b
	other.buildID = b.buildID[:32] + "00000000"
	s.publish(s.token, other.files(t, true))
	s.wantStatus(404, "GET", "/buildid/"+other.buildID+"/debuginfo")
	s.wantStatus(404, "HEAD", "/buildid/"+other.buildID+"/executable")
	s.wantStatus(200, "GET", "/buildid/"+b.buildID+"/debuginfo") // though its .sym says something else

	prefix := "app/" + b.debugID + "/"
	s.publish(s.token, map[string]string{
		prefix + "app.sym":    "MODULE Linux x86_64 " + b.debugID + " app\nINFO CODE_ID " + b.buildID + "\n",
		prefix + "app.dbg.gz": "\x1f\x8bbroken",
		prefix + "app":        readAll(t, b.debug), // of an unusual name
		prefix + "short":      "\x7fELF",
		prefix + "empty.dbg":  "",
	})
	s.wantStatus(200, "GET", "/buildid/"+b.buildID+"/debuginfo")
	s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/executable")
}

// A program that was not stripped is its own debug information, where there is none apart. No .sym need tell of it.
func TestAProgramThatWasNotStripped(t *testing.T) {
	b := build(t)
	s := newSite(t, withDownloads())
	name := "app/" + b.debugID + "/app"
	s.publish(s.token, map[string]string{name: readAll(t, b.stripped)})
	s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/debuginfo")
	s.publish(s.token, map[string]string{name: readAll(t, b.whole)})
	for _, kind := range []string{"debuginfo", "executable"} {
		path := strings.TrimSpace(run(t, "", s.debugger(), "debuginfod-find", kind, b.buildID))
		if readAll(t, path) != readAll(t, b.whole) {
			t.Errorf("debuginfod-find %s gave other bytes", kind)
		}
	}
	s.publish(s.token, map[string]string{"app/" + b.debugID + "/app.debug": readAll(t, b.debug)})
	if _, text := s.fetch("GET", "/buildid/"+b.buildID+"/debuginfo"); text != readAll(t, b.debug) {
		t.Error("debug information apart does not come first")
	}
	for tool, args := range map[string][]string{"debug information alone": {"--keep-section=.debug_*", "--strip-all"}, "symbols alone": {"--strip-debug"}} {
		run(t, filepath.Dir(b.whole), nil, "objcopy", append(args, "app.whole", "app.part")...)
		part := readAll(t, filepath.Join(filepath.Dir(b.whole), "app.part"))
		s := newSite(t, withDownloads())
		s.publish(s.token, map[string]string{name: part})
		if _, text := s.fetch("GET", "/buildid/"+b.buildID+"/debuginfo"); text != part {
			t.Errorf("%s: not found", tool)
		}
	}
}

// What eu-strip leaves in a file of debug information looks like a program by its program headers. It is none: a debugger that took
// it for one showed instructions that are none. Nor is a program that was cut short.
func TestDebugInformationByEuStrip(t *testing.T) {
	b := build(t)
	dir := filepath.Dir(b.whole)
	run(t, dir, nil, "eu-strip", "-f", "eu.debug", "-o", "eu", "app.whole")
	program, debug := readAll(t, filepath.Join(dir, "eu")), readAll(t, filepath.Join(dir, "eu.debug"))
	var text strings.Builder
	w := gzip.NewWriter(&text)
	_, err := io.WriteString(w, debug)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	prefix := "app/" + b.debugID + "/"
	for name, content := range map[string]string{"app": debug, "app.debug": debug, "app.gz": text.String(), "app.dbg.gz": text.String()} {
		s := newSite(t, withDownloads())
		s.publish(s.token, map[string]string{prefix + name: content, prefix + "cut": program[:len(program)-1], prefix + "half": program[:len(program)/2]})
		s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/executable")
		s.wantStatus(404, "GET", "/app/elf-buildid-"+b.buildID+"/app")
		path := strings.TrimSpace(run(t, "", s.debugger(), "debuginfod-find", "debuginfo", b.buildID))
		if readAll(t, path) != debug {
			t.Errorf("%s: debuginfod-find gave other bytes", name)
		}
		s.publish(s.token, map[string]string{prefix + "eu.bin": program})
		path = strings.TrimSpace(run(t, "", s.debugger(), "debuginfod-find", "executable", b.buildID))
		if readAll(t, path) != program {
			t.Errorf("beside %s: debuginfod-find gave another program", name)
		}
	}
}

// The symbol clients of .NET know binaries by ids of their own, under any name and in lower case, and not how they are stored.
func TestBinariesBySSQP(t *testing.T) {
	b := build(t)
	s3 := testenv.S3(t)
	for name, change := range map[string]func(*web.Config, *upload.Config){
		"directory": func(*web.Config, *upload.Config) {},
		"S3":        withS3(t, s3, s3.Endpoint, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, change, withDownloads())
			program, debug := "/libapp.so/elf-buildid-"+b.buildID+"/libapp.so", "/_.debug/elf-buildid-sym-"+b.buildID+"/_.debug"
			s.wantStatus(404, "GET", "/try"+program)
			s.publish(s.makeToken(upload.PermissionUploadTry), b.files(t, true))
			s.wantStatus(404, "GET", program)
			s.wantStatus(404, "HEAD", debug)
			for path, want := range map[string]string{
				"/try" + program: b.stripped, "//try//" + debug[1:]: b.debug, program + "?try": b.stripped,
				strings.Replace(debug, "elf-buildid-sym", "ELF-BuildID-Sym", 1) + "?try&_refresh": b.debug,
			} {
				head := s.wantStatus(200, "HEAD", path)
				resp, text := s.fetch("GET", path)
				if resp.StatusCode != http.StatusOK || text != readAll(t, want) {
					t.Errorf("%s: status %d, other bytes", path, resp.StatusCode)
				}
				for _, r := range []*http.Response{resp, head} {
					wantHeader(t, r, "Content-Type", "application/octet-stream", "Content-Length", fmt.Sprint(len(text)), "X-Debuginfod-File", "")
				}
			}
			s.publish(s.token, b.files(t, false))
			s.wantStatus(200, "GET", program)
			s.wantStatus(200, "GET", debug)
			s.wantStatus(404, "GET", "/app/elf-buildid-"+b.buildID[:38]+"/app")
		})
	}
}

// Of a gzip file of several members, or padded, the trailer tells too little. What is told is what is sent.
func TestTheLengthOfWhatIsInflated(t *testing.T) {
	b := build(t)
	text := readAll(t, b.debug)
	zip := func(text string) string {
		var zipped strings.Builder
		w := gzip.NewWriter(&zipped)
		_, err := io.WriteString(w, text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return zipped.String()
	}
	for name, stored := range map[string]string{
		"one member":  zip(text),
		"two members": zip(text[:1000]) + zip(text[1000:]),
		"padded":      zip(text) + strings.Repeat("\x00", 512),
	} {
		s := newSite(t, withDownloads())
		s.publish(s.token, map[string]string{"app/" + b.debugID + "/app.dbg.gz": stored})
		for _, method := range []string{"HEAD", "GET", "HEAD"} {
			resp, got := s.fetch(method, "/buildid/"+b.buildID+"/debuginfo")
			wantHeader(t, resp, "Content-Length", fmt.Sprint(len(text)), "X-Debuginfod-Size", fmt.Sprint(len(text)), "Accept-Ranges", "none", "Content-Encoding", "")
			if method == "GET" && got != text {
				t.Errorf("%s: other bytes", name)
			}
		}
		resp, _ := s.fetch("GET", "/app/"+b.debugID+"/app.dbg.gz") // as it was uploaded
		wantHeader(t, resp, "Content-Length", fmt.Sprint(len(stored)))
	}
}

// A setting that keeps debug information from downloads keeps it from debuginfod's clients too. Programs have no extension.
func TestDebugFilesAreNotForEverybody(t *testing.T) {
	b := build(t)
	s := newSite(t, withDownloads(func(c *lookup.Config) { c.Extensions = []string{".sym"} }))
	s.publish(s.token, b.files(t, true))
	s.wantStatus(404, "GET", "/buildid/"+b.buildID+"/debuginfo")
	s.wantStatus(200, "GET", "/buildid/"+b.buildID+"/executable")
}
