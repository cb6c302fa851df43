package web_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/gate"
	"tecken-upload/internal/record"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

func TestUploadAnswersWithItsRecord(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("MODULE Linux x86_64 AB app\n"), zip.Deflate, "app/ab/app.sym", "x-symbols.txt")
	a := s.post(s.token+"-nightly", content, "try")
	if a.status != http.StatusCreated {
		t.Fatalf("status %d: %v", a.status, a.body)
	}
	got, _ := a.body["upload"].(map[string]any)
	for _, when := range []string{"created_at", "completed_at"} {
		text, _ := got[when].(string)
		if at, err := time.Parse(time.RFC3339, text); err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(text, "Z") {
			t.Errorf("%s is %q", when, text)
		}
		delete(got, when)
	}
	want := map[string]any{
		"id": 1.0, "size": float64(len(content)), "filename": "symbols.zip", "bucket": filepath.Base(s.objects), "download_url": nil,
		"try_symbols": true, "redirect_urls": []any{}, "user": "ci@example.com",
		"skipped_keys": []any{}, "uploaded_keys": []any{"app/ab/app.sym"}, "ignored_keys": []any{"x-symbols.txt"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer differs (-want +got):\n%s", diff)
	}
	r := s.last()
	if u := s.recorded(r); u.TokenLabel != "nightly" || u.Outcome != upload.Completed || !u.Try || u.EndedAt.IsZero() || r.Err != nil {
		t.Errorf("recorded %+v: %v", u, r.Err)
	}
}

func TestAuthentication(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	revoked := s.makeToken(upload.PermissionUpload)
	tokens, err := s.records.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.records.RevokeToken(t.Context(), tokens[len(tokens)-1].ID); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, token string
		want        int
		text        string
	}{
		{"none", "", 403, "This requires an Auth-Token to authenticate the request"},
		{"unknown", strings.Repeat("0", 64), 403, "API Token not matched"},
		{"not hexadecimal", "sesame", 403, "API Token not matched"},
		{"only a label", "-label", 403, "API Token not matched"},
		{"of 60 KiB", strings.Repeat("a", 60<<10), 403, "API Token not matched"},
		{"of a megabyte", strings.Repeat("a", 1<<20), 431, "The request's header is larger than 64 KiB or has more than 1000 lines"},
		{"revoked", revoked, 403, "API Token not matched"},
		{"for try uploads", s.makeToken(upload.PermissionUploadTry), 201, ""},
		{"for a look at records", s.makeToken(upload.PermissionViewAll), 403, "Forbidden"},
		{"with a label", s.token + "-a-b", 201, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := s.post(tc.token, content); a.status != tc.want || a.text() != tc.text {
				t.Errorf("status %d, %q", a.status, a.text())
			}
		})
	}
	if n := len(s.watcher.ended); n != 2 {
		t.Errorf("%d uploads were recorded, want the two that were let in", n)
	}
}

func TestAnExpiredToken(t *testing.T) {
	late := time.Now()
	s := newSite(t, func(c *web.Config, _ *upload.Config) { c.Exchange.Now = func() time.Time { return late } })
	token, _, err := s.records.CreateToken(t.Context(), record.TokenSpec{
		User: "ci@example.com", Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	late = late.Add(2 * time.Hour)
	if a := s.post(token, []byte("x")); a.status != 403 || a.text() != "API Token found but expired" {
		t.Errorf("status %d, %q", a.status, a.text())
	}
}

// Whatever is wrong with an upload, the client learns it, nothing is published, nothing is left in the
// spool, and the record says rejected.
func TestBadInput(t *testing.T) {
	s := newSite(t)
	good := zipped(t, []byte("x"), zip.Store, "a/AA/a.bin")
	body := func(content []byte) string { b, _ := form(t, content); return b.String() }
	fixed := func(content []byte, end string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"s.zip\"; filename=\"s.zip\"\r\n\r\n" + string(content) + end
	}
	const ct = "multipart/form-data; boundary=b"
	for _, tc := range []struct {
		name, contentType, body string
		want                    int
		text                    string
	}{
		{"no file", ct, "--b\r\nContent-Disposition: form-data; name=\"try\"\r\n\r\n1\r\n--b--\r\n", 400, "Must be multipart form data with at least one file"},
		{"no part", ct, "--b--\r\n", 400, "Must be multipart form data with at least one file"},
		{"nothing", ct, "", 400, "Must be multipart form data with at least one file"},
		{"no boundary", "multipart/form-data", body(good), 400, "Must be multipart form data with at least one file"},
		{"no form", "application/zip", string(good), 400, "Must be multipart form data with at least one file: this is the file alone"},
		{"no form, no type", "", string(good), 400, "curl -F symbols.zip=@symbols.zip"},
		{"no form, and no body", "application/zip", "", 400, "Must be multipart form data with at least one file"},
		{"an unclosed form", ct, fixed(good, ""), 400, "malformed"},
		{"an empty file", ct, fixed(nil, "\r\n--b--"), 400, "empty"},
		{"no archive", ct, fixed([]byte("<html>"), "\r\n--b--"), 400, "not an archive"},
		{"a cut archive", ct, fixed(good[:len(good)-1], "\r\n--b--"), 400, ""},
		{"a foreign name", ct, fixed(zipped(t, nil, zip.Store, "../../etc/passwd"), "\r\n--b--"), 400,
			"Unrecognized file pattern. Should only be <module>/<hex>/<file> or <name>-symbols.txt and nothing else. (First unrecognized pattern was '../../etc/passwd')"},
		{"a disallowed name", ct, fixed(zipped(t, nil, zip.Store, "x/secret/stuff"), "\r\n--b--"), 400, "secret/stuff"},
		{"too many members", ct, fixed(zipped(t, nil, zip.Store, strings.Fields(strings.Repeat("a/AA/a ", 11))...), "\r\n--b--"), 413, "10 members"},
		{"a bomb", ct, fixed(zipped(t, make([]byte, 9<<20), zip.Deflate, "a/AA/a"), "\r\n--b--"), 413, "8388608"},
		{"one byte more than an archive may have", ct, fixed(make([]byte, maxUpload+1), "\r\n--b--"), 413, "2097152 bytes"},
	} {
		for _, sized := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sized %t", tc.name, sized), func(t *testing.T) {
				r := s.request(s.token, tc.contentType, strings.NewReader(tc.body))
				if !sized {
					r.ContentLength = -1
				}
				a := s.do(r)
				if a.status != tc.want || !strings.Contains(a.text(), tc.text) {
					t.Errorf("status %d, %q", a.status, a.text())
				}
				if u := s.recorded(s.last()); u.Outcome != upload.Rejected || u.Error == "" {
					t.Errorf("recorded as %q: %q", u.Outcome, u.Error)
				}
				s.idle()
			})
		}
	}
	if n := s.published(); n != 0 {
		t.Errorf("%d files were published", n)
	}
}

func TestAnArchiveOfTheLargestSizePasses(t *testing.T) {
	s := newSite(t)
	empty := zipped(t, nil, zip.Store, "a/AA/a.bin")
	random := make([]byte, maxUpload-len(empty))
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	content := zipped(t, random, zip.Store, "a/AA/a.bin")
	random = random[:len(random)-(len(content)-maxUpload)]
	content = zipped(t, random, zip.Store, "a/AA/a.bin")
	if len(content) != maxUpload {
		t.Fatalf("made an archive of %d bytes", len(content))
	}
	if a := s.post(s.token, content); a.status != 201 {
		t.Errorf("status %d: %v", a.status, a.body)
	}
	if a := s.post(s.token, append(content, 0)); a.status != 413 {
		t.Errorf("one byte more: status %d: %v", a.status, a.body)
	}
}

// A client that sends all of its body before it reads must still find the answer.
func TestARefusedBodyIsReadAndThrownAway(t *testing.T) {
	s := newSite(t)
	for _, tc := range []struct {
		name, token string
		bytes       int64
		want        int
	}{
		{"unauthenticated", "", 15 << 20, 403},
		{"too large", s.token, 64 << 20, 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			head := fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nContent-Type: multipart/form-data; boundary=b\nContent-Length: %d\n", tc.bytes)
			if tc.token != "" {
				head += "Auth-Token: " + tc.token + "\n"
			}
			conn := s.raw(head + "\n")
			if _, err := io.CopyN(conn, zeros{}, tc.bytes); err != nil {
				t.Fatalf("the connection broke while the body was sent: %v", err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if a := s.read(resp); a.status != tc.want || !resp.Close {
				t.Errorf("status %d, closes %t", a.status, resp.Close)
			}
		})
	}
	if n := len(s.watcher.ended); n != 0 {
		t.Errorf("%d refused uploads were recorded", n)
	}
}

// The answer is there before the body is: a client that looks may stop sending.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	s := newSite(t)
	conn := s.raw("POST /upload/ HTTP/1.1\nHost: x\nContent-Length: 1000000\n\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.read(resp); a.status != 403 {
		t.Errorf("status %d", a.status)
	}
}

func TestABodyThatStops(t *testing.T) {
	start := "--b\r\nContent-Disposition: form-data; name=\"s.zip\"; filename=\"s.zip\"\r\n\r\nPK"
	head := func(s *site, n int) string {
		return fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nContent-Type: multipart/form-data; boundary=b\nContent-Length: %d\n\n", s.token, n)
	}
	t.Run("the client hangs up", func(t *testing.T) {
		s := newSite(t)
		conn := s.raw(head(s, 1000) + start)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if u := s.recorded(s.last()); u.Outcome != upload.Cancelled {
			t.Errorf("recorded as %q: %q", u.Outcome, u.Error)
		}
	})
	t.Run("the client sends nothing more", func(t *testing.T) {
		s := newSite(t, func(c *web.Config, _ *upload.Config) {
			c.Uploads.ReceiveStallTimeout = testenv.Slack(t, 500*time.Millisecond)
		})
		resp, err := http.ReadResponse(bufio.NewReader(s.raw(head(s, 1000)+start)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.read(resp); a.status != 504 || !strings.Contains(a.text(), "too slowly") {
			t.Errorf("status %d: %q", a.status, a.text())
		}
		if u := s.recorded(s.last()); u.Outcome != upload.Rejected {
			t.Errorf("recorded as %q", u.Outcome)
		}
	})
	t.Run("the client trickles", func(t *testing.T) {
		s := newSite(t, func(c *web.Config, _ *upload.Config) {
			c.Uploads.ReceiveTimeout = testenv.Slack(t, 500*time.Millisecond)
		})
		conn := s.raw(head(s, 1_000_000) + start)
		go func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := conn.Write([]byte{0}); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.read(resp); a.status != 504 {
			t.Errorf("status %d: %q", a.status, a.text())
		}
		if u := s.recorded(s.last()); u.Outcome != upload.Rejected {
			t.Errorf("recorded as %q", u.Outcome)
		}
	})
	t.Run("the server stops", func(t *testing.T) {
		s := newSite(t)
		conn := s.raw(head(s, 1000) + start)
		s.receiving()
		s.server.Stop()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.read(resp); a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
		}
		if u := s.recorded(s.last()); u.Outcome != upload.Interrupted {
			t.Errorf("recorded as %q", u.Outcome)
		}
	})
}

// receiving waits until the first upload's record has been made.
func (s *site) receiving() {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(testenv.Patience); time.Now().Before(end); <-tick.C {
		if _, err := s.records.Status(s.Context(), 1); err == nil {
			return
		}
	}
	s.Fatal("no upload began")
}

func TestAClientThatHangsUpWhileItsUploadIsProcessed(t *testing.T) {
	slots := &blockedSlots{asked: make(chan struct{}, 1)}
	s := newSite(t, func(_ *web.Config, c *upload.Config) { c.VerifySlots = slots })
	ctx, cancel := context.WithCancel(t.Context())
	body, ct := form(t, zipped(t, []byte("x"), zip.Store, "a/AA/a.bin"))
	r := s.request(s.token, ct, body).WithContext(ctx)
	go func() {
		<-slots.asked
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("the upload ended before the client hung up")
	}
	if u := s.recorded(s.last()); u.Outcome != upload.Cancelled || u.Filename != "symbols.zip" {
		t.Errorf("recorded as %q: %+v", u.Outcome, u)
	}
	s.idle()
}

// blockedSlots never come free.
type blockedSlots struct {
	upload.Slots
	asked chan struct{}
}

func (b *blockedSlots) Acquire(ctx context.Context, _ sched.Task) (*sched.Slot, error) {
	b.asked <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

type panicking struct{}

func (panicking) Enter(context.Context, upload.Token, int64) (*gate.Pass, error) { panic("boom") }

func TestUploadsOfUnknownLength(t *testing.T) {
	s := newSite(t)
	body, ct := form(t, zipped(t, bytes.Repeat([]byte("MODULE Linux x86_64 AB a\n"), 1000), zip.Deflate, "a/AA/a.sym"), "try")
	r := s.request(s.token, ct, iotest.OneByteReader(body))
	r.ContentLength = -1
	if a := s.do(r); a.status != 201 {
		t.Errorf("status %d: %v", a.status, a.body)
	}
	if u := s.recorded(s.last()); !u.Try {
		t.Error("a try behind the file was not seen")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestChunksThatAreNone(t *testing.T) {
	s := newSite(t)
	conn := s.raw("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: " + s.token +
		"\nContent-Type: multipart/form-data; boundary=b\nTransfer-Encoding: chunked\n\nzz\nnonsense\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.read(resp); a.status != 400 {
		t.Errorf("status %d: %q", a.status, a.text())
	}
	if u := s.recorded(s.last()); u.Outcome != upload.Rejected {
		t.Errorf("recorded as %q", u.Outcome)
	}
}

// A client with a wrong address learns that, however much it sends first.
func TestABodyForAnotherAddress(t *testing.T) {
	s := newSite(t)
	for request, want := range map[string]int{"POST /uploads": 404, "PUT /upload/": 405} {
		const size = 8 << 20
		conn := s.raw(fmt.Sprintf("%s HTTP/1.1\nHost: x\nContent-Length: %d\n\n", request, size))
		if _, err := io.CopyN(conn, zeros{}, size); err != nil {
			t.Fatalf("%s: the connection broke while the body was sent: %v", request, err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.read(resp); a.status != want {
			t.Errorf("%s: status %d, want %d", request, a.status, want)
		}
	}
}

// The answer does not wait for a body that never comes.
func TestABodyThatNobodyWants(t *testing.T) {
	s := newSite(t)
	conn := s.raw("POST /nowhere HTTP/1.1\nHost: x\nContent-Length: 100\n\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.read(resp); a.status != 404 {
		t.Errorf("status %d", a.status)
	}
}

// curl asks before it sends a large body. An upload that was invited and then refused in its middle is read to its
// end like any other, however long that takes.
func TestAnInvitedBodyIsReadToItsEnd(t *testing.T) {
	s := newSite(t)
	const size = maxUpload + 1000<<10
	conn := s.raw(fmt.Sprintf("POST /upload/ HTTP/1.1\nHost: x\nAuth-Token: %s\nExpect: 100-continue\n"+
		"Content-Type: multipart/form-data; boundary=b\nContent-Length: %d\n\n", s.token, size))
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("not invited: %v %v", resp, err)
	}
	head := "--b\r\nContent-Disposition: form-data; name=\"s.zip\"; filename=\"s.zip\"\r\n\r\n"
	const first = maxUpload + 800<<10 // more than the server gathers before it looks
	if _, err := io.Copy(conn, io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, int64(first-len(head))))); err != nil {
		t.Fatal(err)
	}
	if resp, err = http.ReadResponse(answers, nil); err != nil {
		t.Fatal(err)
	}
	if a := s.read(resp); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d: %q", a.status, a.text())
	}
	// Longer than an uninvited body is waited for.
	<-time.After(2500 * time.Millisecond)
	if _, err := io.CopyN(conn, zeros{}, size-first); err != nil {
		t.Errorf("the rest was not read: %v", err)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection broke after %d more bytes: %v", n, err)
	}
}
