package lab

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/testenv"
)

// proof is the server's own proof in storage.
const proof = "v1/.tecken-proof"

// objects are the objects in a site's storage, read without the server's code.
type objects interface {
	keys(ctx context.Context) ([]string, error)
	open(ctx context.Context, key string) (*object, error)
}

// An object is a stored file with its metadata.
type object struct {
	io.ReadCloser
	metadata map[string]string // nil: none, which only a directory allows
	gzipped  bool
}

func (s *Site) objects() objects {
	if dir, ok := s.symbolsDir(); ok {
		return directory(dir)
	}
	return newBucket(s.S3)
}

// bucket is an S3 server's bucket, read by a plain client.
type bucket struct {
	*s3.Client
	name string
}

func newBucket(server testenv.S3Server) bucket {
	return bucket{s3.New(s3.Options{
		BaseEndpoint: &server.Endpoint, Region: server.Region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: server.Access, SecretAccessKey: server.Secret}, nil
		}),
		DisableLogOutputChecksumValidationSkipped: true,
	}), server.Bucket}
}

func (b bucket) keys(ctx context.Context) (all []string, err error) {
	pages := s3.NewListObjectsV2Paginator(b, &s3.ListObjectsV2Input{Bucket: &b.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the objects: %w", err)
		}
		for _, object := range page.Contents {
			if *object.Key != proof {
				all = append(all, *object.Key)
			}
		}
	}
	return all, nil
}

func (b bucket) open(ctx context.Context, key string) (*object, error) {
	got, err := b.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	kind, encoding := aws.ToString(got.ContentType), aws.ToString(got.ContentEncoding)
	if sym := strings.HasSuffix(key, ".sym"); sym && (kind != "text/plain" || encoding != "gzip") || !sym && encoding != "" {
		return nil, errors.Join(fmt.Errorf("%s has the content type %q and the encoding %q", key, kind, encoding), got.Body.Close())
	}
	o := &object{got.Body, map[string]string{}, encoding == "gzip"}
	maps.Copy(o.metadata, got.Metadata)
	return o, nil
}

// Staged lists the files of storage that no reader sees: parts of multipart uploads, as the S3 servers keep them, and a directory's new files.
func (s *Site) Staged() (files []string, err error) {
	dir, ok := s.symbolsDir()
	within := []string{filepath.Join(dir, ".new")}
	if !ok {
		within = []string{filepath.Join(s.S3.Dir, ".sgwtmp"), filepath.Join(filepath.Dir(s.S3.Dir), ".minio.sys", "multipart")}
	}
	for _, dir := range within {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && entry.Name() != "xl.meta" { // MinIO's description of a multipart upload
				files = append(files, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}

// Stored returns the size and the MD5, in hexadecimal, of what the object of a member decodes to.
func (s *Site) Stored(ctx context.Context, name string) (size int64, md5 string, err error) {
	o, err := s.objects().open(ctx, storage.RegularPrefix+name)
	if err != nil {
		return 0, "", err
	}
	c, err := o.read()
	return c.size, c.md5, errors.Join(err, o.Close())
}

// CheckStored reads the members of an archive, and returns which are not in storage as they were sent.
func (s *Site) CheckStored(ctx context.Context, a *Archive) error {
	var wrong []error
	for _, m := range a.Members {
		if size, sum, err := s.Stored(ctx, m.Name); err != nil || size != m.Size || sum != m.MD5 {
			wrong = append(wrong, fmt.Errorf("%s: %d bytes of MD5 %s, not %d of %s (%w)", m.Name, size, sum, m.Size, m.MD5, err))
		}
	}
	return errors.Join(wrong...)
}

// directory is one of symbols, see package dirstore.
type directory string

func (d directory) keys(context.Context) (all []string, err error) {
	for _, prefix := range []string{"v1", "try"} {
		err := filepath.WalkDir(filepath.Join(string(d), prefix), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
				all = append(all, filepath.ToSlash(strings.TrimPrefix(path, string(d)+"/")))
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return all, nil
}

// open opens a file. Metadata of a file of another size do not count.
func (d directory) open(_ context.Context, key string) (*object, error) {
	path := filepath.Join(string(d), filepath.FromSlash(key))
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	o := &object{ReadCloser: f}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".meta"))
	if err == nil {
		err = json.Unmarshal(text, &o.metadata)
	}
	info, statErr := f.Stat()
	if err != nil && !errors.Is(err, fs.ErrNotExist) || statErr != nil {
		return nil, errors.Join(err, statErr, f.Close())
	}
	if o.metadata["stored_size"] != strconv.FormatInt(info.Size(), 10) {
		o.metadata = nil
	}
	o.gzipped = strings.HasSuffix(key, ".sym")
	return o, nil
}

// read returns the object's content.
func (o *object) read() (c content, err error) {
	var r io.Reader = bufio.NewReader(o)
	if o.gzipped {
		if r, err = gzip.NewReader(r); err != nil {
			return c, err
		}
	}
	sum := md5.New()
	c.size, err = io.Copy(sum, r)
	c.md5 = hex.EncodeToString(sum.Sum(nil))
	return c, err
}

// describes reports whether the metadata match the content.
func (o *object) describes(c content) bool {
	return o.metadata["original_size"] == strconv.FormatInt(c.size, 10) && o.metadata["original_md5_hash"] == c.md5
}
