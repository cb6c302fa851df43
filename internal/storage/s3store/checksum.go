package s3store

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// sums are what S3 checks a body by, as it wants them written: one of them, or neither, where the body's SHA-256 is signed.
type sums struct {
	crc32, md5 *string
}

// sumsOfBody returns those of a whole body, which r reads. All are known but the MD5 of what is stored as gzip: for that r is read
// once.
func (s *Store) sumsOfBody(obj upload.Object, body upload.Body, r io.ReadSeeker) (sums, error) {
	switch {
	case s.checksum == storage.CRC32:
		return sums{crc32: crcText(body.CRC32)}, nil
	case s.checksum == storage.MD5 && obj.Gzip:
		h := md5.New()
		if _, err := io.Copy(h, r); err != nil {
			return sums{}, err
		}
		_, err := r.Seek(0, io.SeekStart)
		return sums{md5: text(h.Sum(nil))}, err
	case s.checksum == storage.MD5:
		return sums{md5: text(obj.MD5[:])}, nil
	}
	return sums{}, nil
}

// sumsOf returns those of a part.
func (s *Store) sumsOf(part []byte) sums {
	switch s.checksum {
	case storage.CRC32:
		return sums{crc32: crcText(crc32.ChecksumIEEE(part))}
	case storage.MD5:
		sum := md5.Sum(part)
		return sums{md5: text(sum[:])}
	}
	return sums{}
}

// crcText and text return a sum as S3 writes it.
func crcText(crc uint32) *string { return text(binary.BigEndian.AppendUint32(nil, crc)) }

func text(sum []byte) *string { return aws.String(base64.StdEncoding.EncodeToString(sum)) }

// payload has the body's SHA-256 signed where there is nothing else to check it by, and leaves it out of the signature where there
// is: it would be read once more beforehand. The SDK would sign it wherever there is no TLS.
func (s *Store) payload(o *s3.Options) {
	if s.checksum != storage.NoChecksum {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		return
	}
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		signed := &v4.ComputePayloadSHA256{}
		_, err := stack.Finalize.Swap(signed.ID(), signed)
		return err
	})
}
