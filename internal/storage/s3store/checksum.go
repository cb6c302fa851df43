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

// sums are the checksums of a body in S3's notation: one of them, or neither if its SHA-256 is signed.
type sums struct {
	crc32, md5 *string
}

// sumsOfBody returns the sums of a whole body, which r reads. They are known, except the MD5 of a gzip body: for that r is read once.
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

// sumsOf returns the sums of a part.
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

// crcText and text return a sum in S3's notation.
func crcText(crc uint32) *string { return text(binary.BigEndian.AppendUint32(nil, crc)) }

func text(sum []byte) *string { return aws.String(base64.StdEncoding.EncodeToString(sum)) }

// payload signs the body's SHA-256 only if the request has no other checksum, since that costs another reading of the body. The SDK would
// sign it wherever there is no TLS.
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
