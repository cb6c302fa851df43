package uploads

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"unicode"
	"unicode/utf8"

	"tecken-upload/internal/upload"
)

const (
	// maxParts bounds the parts of one body. Clients send two.
	maxParts = 1000
	// maxName bounds the file's field name, in bytes.
	maxName = 255
	// maxURL bounds the kept part of a field "url", in bytes: above the bound of addresses.
	maxURL = 16 << 10
	// bufferSize is the part read from the network at once.
	bufferSize = 256 << 10
)

// A multipartForm is a body without the file's content.
type multipartForm struct {
	Filename string // the name of the file's field; valid UTF-8 without control characters, at most 255 bytes
	Try      bool   // there was a non-empty field "try"
	URL      string // the last field "url"; at most 16 KiB of it
}

// readForm reads a body of multipart/form-data (RFC 7578) as a stream. The first part that is a file is passed on as it arrives. Of the
// other parts only "try" and "url" have a meaning, before the file or after it. Only one part's header and the first bytes of a field are
// buffered, nothing touches the disk, and every further file is discarded. The body's reader bounds the body.
//
// It reads body to its end, calls file once with the content of the first file part and what is known of the form by then, and returns the form. contentType is the
// request's.
//
// The errors are [upload.ErrNoFile], with the form's other fields, [upload.ErrNotForm], one that wraps [upload.ErrMalformed], or the first
// error of body or of file, unchanged. After an error other than upload.ErrNoFile body has not been read to its end.
func readForm(body io.Reader, contentType string, file func(known multipartForm, content io.Reader) error) (multipartForm, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	switch {
	case mediaType != "multipart/form-data":
		return multipartForm{}, orEmpty(body, upload.ErrNotForm)
	case err != nil, params["boundary"] == "":
		return multipartForm{}, upload.ErrNoFile
	}
	source := &source{r: body}
	r := reader{parts: multipart.NewReader(bufio.NewReaderSize(untilClosed(source), bufferSize), params["boundary"]), file: file}
	if err := r.read(); err != nil {
		if source.err != nil {
			return multipartForm{}, source.err
		}
		return multipartForm{}, err
	}
	// The connection notices that the client has gone only once the body is at its end.
	if _, err := io.Copy(io.Discard, source); err != nil {
		return multipartForm{}, err
	}
	if !r.found {
		return r.form, upload.ErrNoFile
	}
	return r.form, nil
}

// orEmpty returns err, or upload.ErrNoFile for an empty body.
func orEmpty(body io.Reader, err error) error {
	if _, readErr := io.ReadFull(body, make([]byte, 1)); errors.Is(readErr, io.EOF) {
		return upload.ErrNoFile
	} else if readErr != nil {
		return readErr
	}
	return err
}

// untilClosed turns a body's plain end into io.ErrUnexpectedEOF: a form ends with its closing delimiter, and a multipart.Reader takes one
// cut behind another delimiter for a whole one. The line end stands in for the optional one of a closing delimiter.
func untilClosed(body io.Reader) io.Reader {
	return io.MultiReader(body, strings.NewReader("\r\n"), cut{})
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// source keeps the error of the body, so that it is not taken for a fault of the form.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err // the first error is the reason
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type reader struct {
	parts *multipart.Reader
	file  func(multipartForm, io.Reader) error
	form  multipartForm
	found bool
}

func (r *reader) read() error {
	for range maxParts {
		part, err := r.parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if !r.found && errors.Is(err, io.ErrUnexpectedEOF) {
				return upload.ErrNoFile
			}
			return fmt.Errorf("%w: %w", upload.ErrMalformed, err)
		}
		if err := r.take(part); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than %d parts", upload.ErrMalformed, maxParts)
}

func (r *reader) take(part *multipart.Part) error {
	content := &content{r: part}
	switch {
	case part.FileName() != "" && !r.found:
		r.found = true
		r.form.Filename = cleanName(part.FormName())
		if err := r.file(r.form, content); err != nil {
			return err
		}
	case part.FileName() == "" && part.FormName() == "try":
		n, err := io.CopyN(io.Discard, content, 1)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r.form.Try = r.form.Try || n > 0
	case part.FileName() == "" && part.FormName() == "url":
		value, err := io.ReadAll(io.LimitReader(content, maxURL))
		if err != nil {
			return err
		}
		r.form.URL = string(value)
	}
	_, err := io.Copy(io.Discard, content)
	return err
}

// content is a part's content. It fills the caller's buffer if it can (a multipart part yields at most 4 KiB at once), and returns this
// package's error for a part that was cut short.
type content struct{ r io.Reader }

func (c *content) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := c.r.Read(p[n:])
		n += m
		switch {
		case err == io.EOF && n > 0:
			return n, nil // the next call finds the end again
		case err == io.EOF:
			return 0, io.EOF
		case err != nil:
			return n, fmt.Errorf("%w: %w", upload.ErrMalformed, err)
		}
	}
	return n, nil
}

// cleanName makes a client's name fit for records and logs: as [multipartForm.Filename].
func cleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
	for len(name) > maxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
