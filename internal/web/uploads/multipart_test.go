package uploads

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/upload"
)

const boundary = "frontier"

const contentType = "multipart/form-data; boundary=" + boundary

// form writes a body of the given parts: "name=value" for a field, "name@filename=content" for a file.
func form(t testing.TB, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		field, filename, isFile := strings.Cut(name, "@")
		var part io.Writer
		var err error
		if isFile {
			part, err = w.CreateFormFile(field, filename)
		} else {
			part, err = w.CreateFormField(field)
		}
		if err == nil {
			_, err = io.WriteString(part, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadForm(t *testing.T) {
	binary := "\x00\r\n--front\r\n--frontie\r\n\xff" + strings.Repeat("x", 9000)
	for _, tc := range []struct {
		name, contentType, body string
		want                    multipartForm
		content                 string
		err                     error
	}{
		{name: "one file", body: form(t, "symbols.zip@symbols.zip="+binary), want: multipartForm{Filename: "symbols.zip"}, content: binary},
		{name: "try before the file", body: form(t, "try=1", "a.zip@a.zip=x"), want: multipartForm{Filename: "a.zip", Try: true}, content: "x"},
		{name: "try behind the file", body: form(t, "a.zip@a.zip=x", "try=true"), want: multipartForm{Filename: "a.zip", Try: true}, content: "x"},
		{name: "an empty try is none", body: form(t, "try=", "a.zip@a.zip=x"), want: multipartForm{Filename: "a.zip"}, content: "x"},
		{name: "the first of two files counts", body: form(t, "a@a=first", "b@b=second"), want: multipartForm{Filename: "a"}, content: "first"},
		{name: "a file named try is a file", body: form(t, "try@a.zip=x"), want: multipartForm{Filename: "try"}, content: "x"},
		{name: "other fields are ignored", body: form(t, "u=http://x", "a@a=x"), want: multipartForm{Filename: "a"}, content: "x"},
		{name: "a file and addresses", body: form(t, "url=http://x", "a@a=x", "url=http://y"), want: multipartForm{Filename: "a", URL: "http://y"}, content: "x"},
		{name: "a file named url is a file", body: form(t, "url@a.zip=x"), want: multipartForm{Filename: "url"}, content: "x"},
		{name: "an empty file", body: form(t, "a@a="), want: multipartForm{Filename: "a"}},
		{name: "a name with control bytes", body: form(t, "a\u0085\tb@a=x"), want: multipartForm{Filename: "ab"}, content: "x"},
		{name: "a name that is not UTF-8", body: form(t, "a\xffb@a=x"), want: multipartForm{Filename: "a\uFFFDb"}, content: "x"},
		{name: "an over-long name", body: form(t, strings.Repeat("é", 200)+"@a=x"), want: multipartForm{Filename: strings.Repeat("é", 127)}, content: "x"},
		{name: "an epilogue", body: form(t, "a@a=x") + "\r\nbye", want: multipartForm{Filename: "a"}, content: "x"},

		{name: "an address", body: form(t, "url=https://x"), want: multipartForm{URL: "https://x"}, err: upload.ErrNoFile},
		{name: "try behind an address", body: form(t, "url=https://x", "try=1"), want: multipartForm{URL: "https://x", Try: true}, err: upload.ErrNoFile},
		{name: "try before an address", body: form(t, "try=1", "x=y", "url=https://x"), want: multipartForm{URL: "https://x", Try: true}, err: upload.ErrNoFile},
		{name: "an endless address", body: form(t, "url="+strings.Repeat("x", 1<<20)), want: multipartForm{URL: strings.Repeat("x", maxURL)}, err: upload.ErrNoFile},
		{name: "no file", body: form(t, "try=1"), want: multipartForm{Try: true}, err: upload.ErrNoFile},
		{name: "no part", body: "--" + boundary + "--\r\n", err: upload.ErrNoFile},
		{name: "no body", body: "", err: upload.ErrNoFile},
		{name: "not a form at all", body: "PK\x03\x04", err: upload.ErrNoFile},
		{name: "no content type", contentType: "-", body: "x", err: upload.ErrNotForm},
		{name: "no content type, no body", contentType: "-", body: "", err: upload.ErrNoFile},
		{name: "no boundary", contentType: "multipart/form-data", body: form(t, "a@a=x"), err: upload.ErrNoFile},
		{name: "an empty boundary", contentType: `multipart/form-data; boundary=""`, body: form(t, "a@a=x"), err: upload.ErrNoFile},
		{name: "another type", contentType: "application/json", body: "{}", err: upload.ErrNotForm},
		{name: "another multipart type", contentType: "multipart/mixed; boundary=" + boundary, body: form(t, "a@a=x"), err: upload.ErrNoFile},
		{name: "an endless header", body: "--" + boundary + "\r\nA: " + strings.Repeat("x", 11<<20), err: upload.ErrMalformed},
		{name: "a header that is none", body: "--" + boundary + "\r\nnonsense\r\n\r\nx", err: upload.ErrMalformed},
		{name: "too many parts", body: form(t, strings.Fields(strings.Repeat("a=b ", maxParts+1))...), err: upload.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ct := contentType
			if tc.contentType != "" {
				ct = tc.contentType
			}
			var content bytes.Buffer
			got, err := readForm(strings.NewReader(tc.body), ct, func(_ multipartForm, r io.Reader) error {
				_, err := io.Copy(&content, r)
				return err
			})
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("form differs (-want +got):\n%s", diff)
			}
			if tc.err == nil && content.String() != tc.content {
				t.Errorf("content of %d bytes differs from the %d sent", content.Len(), len(tc.content))
			}
		})
	}
}

func TestACutBodyIsNeverAWholeForm(t *testing.T) {
	whole := form(t, "try=1", "a.zip@a.zip=some content", "b=c")
	end := strings.LastIndex(whole, "--"+boundary+"--") + len("--"+boundary+"--")
	for n := range end {
		_, err := readForm(strings.NewReader(whole[:n]), contentType, func(_ multipartForm, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, upload.ErrMalformed) && !errors.Is(err, upload.ErrNoFile) {
			t.Fatalf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
}

func TestErrorsOfTheBodyAndTheFileComeAsTheyAre(t *testing.T) {
	broken := errors.New("connection reset")
	body := io.MultiReader(strings.NewReader(form(t, "a@a="+strings.Repeat("x", 1<<20))[:600_000]), iotest.ErrReader(broken))
	drain := func(_ multipartForm, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return fmt.Errorf("receive: %w", err)
	}
	if _, err := readForm(body, contentType, drain); !errors.Is(err, broken) {
		t.Errorf("the body's error came as %v", err)
	}
	full := errors.New("disk full")
	if _, err := readForm(strings.NewReader(form(t, "a@a=x")), contentType, func(multipartForm, io.Reader) error { return full }); !errors.Is(err, full) {
		t.Errorf("the file's error came as %v", err)
	}
}

func FuzzReadForm(f *testing.F) {
	f.Add(form(f, "try=1", "a.zip@a.zip=PK\x03\x04"), 3)
	f.Add(form(f, "a@a=first", "b@b=second"), 100)
	f.Add("--"+boundary+"\r\nContent-Disposition: form-data; name=\"a\"; filename=\"../../x\"\r\n\r\nx\r\n--"+boundary+"--", 1)
	f.Add("--"+boundary+"\r\nContent-Disposition: form-data; name*=utf-8''%00; filename*=utf-8''%ff\r\n\r\nx", 7)
	f.Add("--"+boundary+"\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n=00=\r\n--"+boundary+"--", 2)
	f.Add("--"+boundary+"--\r\n", 1)
	f.Add("", 1)
	f.Fuzz(func(t *testing.T, body string, chunk int) {
		read := func(r io.Reader) (multipartForm, []byte, error) {
			var content bytes.Buffer
			form, err := readForm(r, contentType, func(_ multipartForm, r io.Reader) error {
				_, err := io.Copy(&content, r)
				return err
			})
			return form, content.Bytes(), err
		}
		form, content, err := read(strings.NewReader(body))
		if err != nil && !errors.Is(err, upload.ErrNoFile) && !errors.Is(err, upload.ErrMalformed) {
			t.Fatalf("an error of no known kind: %v", err)
		}
		if len(form.Filename) > maxName || strings.ContainsFunc(form.Filename, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("name %q", form.Filename)
		}
		if err == nil && !strings.Contains(body, string(content)) {
			t.Fatal("content that was not in the body")
		}
		// However the network cuts it, the form is the same.
		size := chunk&0xfff + 1
		form2, content2, err2 := read(&chunks{s: body, size: size})
		if form != form2 || (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(content, content2) {
			t.Fatalf("read in pieces of %d: %+v %v, at once: %+v %v", size, form2, err2, form, err)
		}
	})
}

// chunks yields s in pieces of size bytes.
type chunks struct {
	s    string
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.s == "" {
		return 0, io.EOF
	}
	n := copy(p, c.s[:min(c.size, len(c.s))])
	c.s = c.s[n:]
	return n, nil
}
