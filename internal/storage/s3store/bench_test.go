package s3store

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// BenchmarkVisible measures how long a body takes to become visible once its MD5 is known, in each way that was weighed in
// docs/adr/0030. The ways take turns; reported are the medians.
//
//	go test -run '^$' -bench Visible -benchtime 5x ./internal/storage/s3store
func BenchmarkVisible(b *testing.B) {
	for name, start := range servers {
		for _, megabytes := range []int64{50, 150, 300, 600} {
			b.Run(fmt.Sprintf("%s/%dMB", name, megabytes), func(b *testing.B) {
				server := start(b)
				v := &visible{
					Store: open(b, server, server.Endpoint, Options{}), body: fileBody(b, megabytes*1_000_000),
					loc: storagetest.Location(b, "a.pdb/1/a.pdb"), aside: storagetest.Location(b, "staged.pdb/1/a.pdb"),
				}
				v.measure(b)
			})
		}
	}
}

// visible is one body on its way to one key.
type visible struct {
	*Store
	loc   upload.Location
	aside upload.Location // where it is staged to be copied
	body  upload.Body
}

// measure runs every way in each round.
func (v *visible) measure(b *testing.B) {
	ways := map[string]func(ctx context.Context) (time.Duration, error){
		"put": v.put, "parts": v.partsThen, "commit": v.commitAlone, "copy": v.copyObject, "partcopy": v.copySlices,
	}
	took := make(map[string][]time.Duration)
	for b.Loop() {
		for name, way := range ways {
			d, err := way(b.Context())
			if err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			took[name] = append(took[name], d)
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Milliseconds()), "ms/"+name)
	}
	b.ReportMetric(0, "ns/op")
}

// unnoted notes nothing.
func unnoted(context.Context, string) error { return nil }

// fileBody returns a body of so many bytes in a file, which the kernel has in memory.
func fileBody(b *testing.B, size int64) upload.Body {
	f, err := os.Create(filepath.Join(b.TempDir(), "body"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	c, crc := storagetest.Random(1, 1_000_000), crc32.NewIEEE()
	for range size / int64(len(c.Data)) {
		if _, err := io.MultiWriter(f, crc).Write(c.Data); err != nil {
			b.Fatal(err)
		}
	}
	return upload.Body{Reader: io.NewSectionReader(f, 0, size), At: f, Size: size, CRC32: crc.Sum32()}
}

func (v *visible) obj() upload.Object { return upload.Object{Size: v.body.Size} }

// put is one PUT of the whole body.
func (v *visible) put(ctx context.Context) (time.Duration, error) {
	if _, err := v.body.Reader.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	start := time.Now()
	err := v.Put(ctx, v.loc, v.obj(), v.body)
	return time.Since(start), err
}

// partsThen sends the parts when the MD5 is known.
func (v *visible) partsThen(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	staged, err := v.Stage(ctx, v.loc, v.obj(), v.body, unnoted)
	if err == nil {
		err = staged.Commit(ctx)
	}
	return time.Since(start), err
}

// commitAlone has sent the parts before.
func (v *visible) commitAlone(ctx context.Context) (time.Duration, error) {
	staged, err := v.Stage(ctx, v.loc, v.obj(), v.body, unnoted)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = staged.Commit(ctx)
	return time.Since(start), err
}

// copyObject has sent the parts to another key before, and copies the object in one request.
func (v *visible) copyObject(ctx context.Context) (time.Duration, error) {
	return v.copied(ctx, func(from *string) error {
		_, err := v.client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &v.bucket, Key: v.key(v.loc), CopySource: from, MetadataDirective: types.MetadataDirectiveReplace,
			Metadata: storage.Metadata(v.obj()), ContentType: aws.String("application/octet-stream"),
		})
		return err
	})
}

// copySlices copies it in slices, several at once.
func (v *visible) copySlices(ctx context.Context) (time.Duration, error) {
	slice := max(partSize, v.body.Size/partsAtOnce+1)
	return v.copied(ctx, func(from *string) error {
		m, err := v.begin(ctx, v.key(v.loc), &s3.CreateMultipartUploadInput{Metadata: storage.Metadata(v.obj())})
		if err != nil {
			return err
		}
		err = m.send(ctx, (v.body.Size+slice-1)/slice, func(ctx context.Context, number int32) (sending, error) {
			first := int64(number-1) * slice
			last := min(first+slice, v.body.Size) - 1
			return func() (*types.CompletedPart, error) {
				out, err := v.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
					Bucket: &v.bucket, Key: m.key, UploadId: m.id, PartNumber: &number, CopySource: from,
					CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", first, last)),
				})
				if err != nil {
					return nil, err
				}
				return &types.CompletedPart{ETag: out.CopyPartResult.ETag}, nil
			}, nil
		})
		if err != nil {
			return err
		}
		_, err = m.complete(ctx)
		return err
	})
}

// copied sends the parts to another key. Then, measured, it completes that object and has it copied.
func (v *visible) copied(ctx context.Context, copyFrom func(source *string) error) (time.Duration, error) {
	staged, err := v.Stage(ctx, v.aside, v.obj(), v.body, unnoted)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := staged.Commit(ctx); err != nil {
		return 0, err
	}
	err = copyFrom(v.copySource(v.aside))
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	_, err = v.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &v.bucket, Key: v.key(v.aside)})
	return took, err
}
