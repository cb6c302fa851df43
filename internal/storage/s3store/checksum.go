package s3store

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
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

// sumsOf reads a part from its start to its end, and returns its sums and its CRC-32.
func (s *Store) sumsOf(part *io.SectionReader) (sums, uint32, error) {
	crc, digest := crc32.NewIEEE(), md5.New()
	var w io.Writer = crc
	if s.checksum == storage.MD5 {
		w = io.MultiWriter(crc, digest)
	}
	n, err := io.Copy(w, part)
	if err == nil && n < part.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = part.Seek(0, io.SeekStart)
	}
	if err != nil {
		return sums{}, 0, fmt.Errorf("%w: %w", storage.ErrBody, err)
	}
	switch s.checksum {
	case storage.CRC32:
		return sums{crc32: crcText(crc.Sum32())}, crc.Sum32(), nil
	case storage.MD5:
		return sums{md5: text(digest.Sum(nil))}, crc.Sum32(), nil
	}
	return sums{}, crc.Sum32(), nil
}

// joinCRC returns the CRC-32 of two texts, one behind the other, from those of both and the length of the second in bytes: the first is
// multiplied by x to the power of the second's bits.
func joinCRC(first, second uint32, length int64) uint32 {
	const eightBits = 1 << (31 - 8) // x⁸; the highest bit is x⁰
	for power := uint32(eightBits); length > 0; length >>= 1 {
		if length&1 != 0 {
			first = multiplyCRC(first, power)
		}
		power = multiplyCRC(power, power)
	}
	return first ^ second
}

// multiplyCRC multiplies two polynomials modulo that of CRC-32.
func multiplyCRC(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		b = b>>1 ^ (b&1)*crc32.IEEE
	}
	return product
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
