package main

import (
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/config"
	"tecken-upload/internal/testarchive"
)

// readbackName begins the measure of the row readback.
const readbackName = "objects read back"

// proof is what the server itself puts into storage, to prove that it can.
const proof = "v1/.tecken-proof"

// readers is how many objects are read at once.
const readers = 2

// A comparison counts what was read back and found equal.
type comparison struct {
	uploads int
	objects atomic.Int64
	bytes   atomic.Int64 // inflated
}

// compare reads every object of the site, by a plain S3 client and with Go's own gzip, and compares its
// content, its metadata and its encoding with what was uploaded. Everything in complete must be there;
// what is in partial, uploads that were cut off, may be; and nothing else.
func (l *lab) compare(ctx context.Context, s *site, complete, partial []*sample) error {
	expected := make(map[string]testarchive.Member)
	for _, a := range append(partial, complete...) {
		for _, m := range a.manifest.Members {
			if !m.Ignored {
				expected["v1/"+m.Name] = m
			}
		}
	}
	client := s3.New(s3.Options{
		BaseEndpoint: &s.endpoint, Region: region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}, nil
		}),
		DisableLogOutputChecksumValidationSkipped: true,
	})
	found := make(map[string]bool)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
	for pages.HasMorePages() && gctx.Err() == nil {
		page, err := pages.NextPage(gctx)
		if err != nil {
			return errors.Join(fmt.Errorf("list the objects: %w", err), g.Wait())
		}
		for _, object := range page.Contents {
			key := *object.Key
			if key == proof {
				continue
			}
			m, ok := expected[key]
			if !ok {
				return errors.Join(fmt.Errorf("storage has %s, which nobody uploaded", key), g.Wait())
			}
			found[key] = true
			g.Go(func() error { return l.compareObject(gctx, client, key, m) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.compared.uploads += len(complete)
	for _, a := range complete {
		for _, m := range a.manifest.Members {
			if !m.Ignored && !found["v1/"+m.Name] {
				return fmt.Errorf("storage lacks %s", m.Name)
			}
		}
	}
	return nil
}

// compareObject reads one object and compares it with the member it was made of.
func (l *lab) compareObject(ctx context.Context, client *s3.Client, key string, m testarchive.Member) error {
	object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	defer object.Body.Close()
	var content io.Reader = object.Body
	gzipped := aws.ToString(object.ContentEncoding) == "gzip"
	if gzipped {
		if content, err = gzip.NewReader(object.Body); err != nil {
			return fmt.Errorf("inflate %s: %w", key, err)
		}
	}
	sum := md5.New()
	n, err := io.Copy(sum, content)
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	switch {
	case n != m.Size || digest != m.MD5:
		return fmt.Errorf("%s has %d bytes of MD5 %s instead of %d of %s", key, n, digest, m.Size, m.MD5)
	case object.Metadata["original_size"] != strconv.FormatInt(n, 10), object.Metadata["original_md5_hash"] != digest:
		return fmt.Errorf("%s has the wrong metadata: %v", key, object.Metadata)
	case gzipped != strings.HasSuffix(key, ".sym"):
		return fmt.Errorf("%s has the wrong encoding %q", key, aws.ToString(object.ContentEncoding))
	}
	l.compared.objects.Add(1)
	l.compared.bytes.Add(n)
	return nil
}

// measureReadback uploads archives of every format, and compares what became of them.
func measureReadback(ctx context.Context, l *lab) (_ []result, err error) {
	s, err := l.open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var samples []*sample
	size := int64(l.size) / 10
	for i, spec := range []testarchive.Spec{
		{Mix: testarchive.RealMix, Format: testarchive.Zip, Listing: true},
		{Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true},
		{Mix: testarchive.PlainMix, Format: testarchive.Zip},
		{Mix: testarchive.PlainMix, Format: testarchive.Tar},
		{Mix: testarchive.RealMix, Format: testarchive.TarGzip, Listing: true},
		{Mix: testarchive.OnlySym, Format: testarchive.TarZstd},
	} {
		spec.Seed, spec.Bytes = uint64(100+i), size
		a, err := l.sample(ctx, spec)
		if err != nil {
			return nil, err
		}
		if _, err := s.upload(ctx, a); err != nil {
			return nil, err
		}
		samples = append(samples, a)
	}
	if err := l.compare(ctx, s, samples, nil); err != nil {
		return nil, err
	}
	return []result{l.comparedResult()}, nil
}

// comparedResult tells what was compared so far; a difference would have ended the run.
func (l *lab) comparedResult() result {
	return result{
		measure: readbackName + " and compared with what was uploaded",
		target:  "equal",
		measured: fmt.Sprintf("equal: %d objects of %d uploads, %.1f GiB",
			l.compared.objects.Load(), l.compared.uploads, float64(l.compared.bytes.Load())/float64(config.GiB)),
	}
}
