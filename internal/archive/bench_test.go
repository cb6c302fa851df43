package archive

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"hash/crc32"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"tecken-upload/internal/testarchive"
)

var wide = Limits{MaxMembers: 10000, MaxMemberSize: 8 << 30, MaxExtractedSize: 32 << 30}

// BenchmarkVerify tells the CPU time of verifying an archive as a multiple of what can't be done without:
// inflating each member once, MD5 and CRC-32. Run it with -benchtime=10x or more.
func BenchmarkVerify(b *testing.B) {
	for _, mix := range []testarchive.Mix{testarchive.OnlySym, testarchive.RealMix} {
		b.Run(string(mix), func(b *testing.B) {
			var zip bytes.Buffer
			_, err := testarchive.Write(&zip, testarchive.Spec{Bytes: 16 << 20, Mix: mix})
			must(b, err)
			data := zip.Bytes()
			_, ms, err := verify(b.Context(), data, wide)
			must(b, err)
			b.SetBytes(int64(len(data)))
			var ours, least time.Duration
			for b.Loop() {
				least += cpu(func() { inflateOnly(b, data, ms) })
				ours += cpu(func() {
					_, _, err := verify(b.Context(), data, wide)
					must(b, err)
				})
			}
			b.ReportMetric(ours.Seconds()/least.Seconds(), "×least")
			b.ReportMetric(float64(len(data)*b.N)/1e6/ours.Seconds(), "MB/cpu-s")
		})
	}
}

// inflateOnly does the least there is to do.
func inflateOnly(b *testing.B, zip []byte, ms []*Member) {
	dec := flate.NewReader(bytes.NewReader(nil))
	in := bufio.NewReaderSize(nil, bufSize)
	sum := md5.New()
	buf := make([]byte, bufSize)
	for _, m := range ms {
		in.Reset(bytes.NewReader(zip[m.zip.data:][:m.zip.size]))
		var r io.Reader = in
		if m.zip.method == methodDeflated {
			must(b, dec.(flate.Resetter).Reset(in, nil))
			r = dec
		}
		sum.Reset()
		crc := crc32.NewIEEE()
		_, err := io.CopyBuffer(io.MultiWriter(sum, crc), struct{ io.Reader }{r}, buf)
		must(b, err)
		if crc.Sum32() != m.crc {
			b.Fatal("CRC-32")
		}
	}
}

// cpu returns the processor time that f takes, in all threads.
func cpu(f func()) time.Duration {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	f()
	return used() - before
}
