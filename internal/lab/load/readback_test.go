package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/testarchive"
)

// readers is how many objects are read at once.
const readers = 4

// A source is the archive that an object may have come from.
type source struct {
	template *template
	variant  uint32
}

// place is where a member is in its template.
type place struct {
	template *template
	member   int
}

// A readback compares what storage holds with what was sent.
type readback struct {
	client *s3.Client
	bucket string
	places map[string]place // by the member's name; masked where the template has variants
	sent   map[source]bool  // true: accepted, so that all of it must be there

	mu      sync.Mutex
	found   map[source]int // members
	objects int
	bytes   int64 // inflated
}

// newS3Client makes a plain S3 client of the site's storage.
func newS3Client(s *site) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.endpoint()), Region: region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}, nil
		}),
		DisableLogOutputChecksumValidationSkipped: true,
	})
}

func newReadback(client *s3.Client, bucket string, templates []*template, attempts []*attempt) *readback {
	r := &readback{
		client: client, bucket: bucket,
		places: make(map[string]place), sent: make(map[source]bool), found: make(map[source]int),
	}
	for _, t := range templates {
		for i, m := range t.members {
			name := m.Name
			if t.varied() {
				name, _ = mask(name)
			}
			r.places[name] = place{t, i}
		}
	}
	for _, a := range attempts {
		src := source{a.job.template, a.job.variant}
		r.sent[src] = r.sent[src] || a.ending == accepted
	}
	return r
}

// compare reads every object there is, with Go's own gzip, and compares it byte by byte with what was sent. All of what was
// accepted must be there; what was not may be, a member whole or not at all; nothing else.
func (r *readback) compare(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	pages := s3.NewListObjectsV2Paginator(r.client, &s3.ListObjectsV2Input{Bucket: &r.bucket})
	for pages.HasMorePages() && gctx.Err() == nil {
		page, err := pages.NextPage(gctx)
		if err != nil {
			return errors.Join(fmt.Errorf("list the objects: %w", err), g.Wait())
		}
		for _, object := range page.Contents {
			if *object.Key == proof {
				continue
			}
			g.Go(func() error { return r.compareObject(gctx, *object.Key) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for src, whole := range r.sent {
		if n := r.found[src]; whole && n != len(src.template.members) {
			return fmt.Errorf("storage has %d of the %d members of variant %08X of template %d, which was accepted",
				n, len(src.template.members), src.variant, src.template.number)
		}
	}
	return nil
}

// proof is what the server itself puts into storage, to prove that it can.
const proof = "v1/.tecken-proof"

// find tells what an object was made of.
func (r *readback) find(key string) (place, source, error) {
	name, ok := strings.CutPrefix(key, "v1/")
	if at, found := r.places[name]; ok && found {
		return at, source{at.template, 0}, r.known(key, source{at.template, 0})
	}
	name, digits := mask(name)
	at, found := r.places[name]
	number, err := strconv.ParseUint(digits, 16, 32)
	if !ok || !found || err != nil {
		return place{}, source{}, fmt.Errorf("storage has %s, which nobody sent", key)
	}
	src := source{at.template, uint32(number)}
	return at, src, r.known(key, src)
}

func (r *readback) known(key string, src source) error {
	if _, ok := r.sent[src]; !ok {
		return fmt.Errorf("storage has %s, of an archive that nobody sent", key)
	}
	return nil
}

// compareObject reads one object and compares it with the member it was made of.
func (r *readback) compareObject(ctx context.Context, key string) error {
	at, src, err := r.find(key)
	if err != nil {
		return err
	}
	object, err := r.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	defer object.Body.Close()
	var content io.Reader = object.Body
	if aws.ToString(object.ContentEncoding) == "gzip" {
		if content, err = gzip.NewReader(object.Body); err != nil {
			return fmt.Errorf("inflate %s: %w", key, err)
		}
	}
	m := at.template.members[at.member]
	want, err := os.Open(at.template.content(at.member))
	if err != nil {
		return err
	}
	defer want.Close()
	if err := equal(content, want); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if err := checkHeader(key, object, m); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found[src]++
	r.objects++
	r.bytes += m.Size
	return nil
}

// checkHeader compares what is stored beside an object with the member it was made of.
func checkHeader(key string, object *s3.GetObjectOutput, m testarchive.Member) error {
	if object.Metadata["original_size"] != strconv.FormatInt(m.Size, 10) || object.Metadata["original_md5_hash"] != m.MD5 {
		return fmt.Errorf("%s has the wrong metadata %v", key, object.Metadata)
	}
	kind, encoding := aws.ToString(object.ContentType), aws.ToString(object.ContentEncoding)
	if sym := strings.HasSuffix(key, ".sym"); sym && (kind != "text/plain" || encoding != "gzip") || !sym && encoding != "" {
		return fmt.Errorf("%s has the content type %q and the encoding %q", key, kind, encoding)
	}
	return nil
}

// equal compares two streams byte by byte.
func equal(got, want io.Reader) error {
	const size = 64 << 10
	g, w := bufio.NewReaderSize(got, size), bufio.NewReaderSize(want, size)
	for at := 0; ; {
		expected, err := w.Peek(size)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		actual, gotErr := g.Peek(size)
		if gotErr != nil && !errors.Is(gotErr, io.EOF) {
			return fmt.Errorf("after %d bytes: %w", at, gotErr)
		}
		if !bytes.Equal(actual, expected) {
			return fmt.Errorf("it differs from what was sent within %d bytes from %d on", size, at)
		}
		if errors.Is(err, io.EOF) && errors.Is(gotErr, io.EOF) {
			return nil
		}
		at += len(expected)
		if _, err := g.Discard(len(actual)); err != nil {
			return err
		}
		if _, err := w.Discard(len(expected)); err != nil {
			return err
		}
	}
}
