package s3store

import (
	"errors"
	"hash/crc32"
	"net/http"
	"testing"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// stage stages c at loc, or fails the test.
func stage(t *testing.T, s *Store, loc upload.Location, c storagetest.Content) upload.Staged {
	t.Helper()
	body, done := c.BodyAt(t)
	defer done()
	staged, err := s.Stage(t.Context(), loc, c.Object, body, unnoted)
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	return staged
}

// loseAnswers starts a proxy that breaks the connection instead of answering the first so many completions of multipart uploads. before is
// called before each completion, with its number.
func loseAnswers(t *testing.T, server testenv.S3Server, losses int, before func(n int)) string {
	t.Helper()
	trouble := testenv.TroubleS3(t, server.Endpoint)
	n := 0
	return testenv.HoldS3(t, trouble.Endpoint, func(r *http.Request) bool {
		if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") {
			trouble.End()
			return false
		}
		n++
		before(n)
		if n <= losses {
			trouble.Begin(testenv.CutAnswer, 1, 0)
		} else {
			trouble.End()
		}
		return false
	})
}

// A commit whose answer was lost is recognised by the object.
func TestTheAnswerOfACommitIsLost(t *testing.T) {
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, large)
	c.Object.Gzip = true
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			direct := open(t, server, server.Endpoint, Options{})
			s := open(t, server, loseAnswers(t, server, 2, func(int) {}), quick)
			if err := stage(t, s, loc, c).Commit(t.Context()); err != nil {
				t.Errorf("commit: %v", err)
			}
			c.Check(t, direct, loc)
			checkNoParts(t, server)

			other := storagetest.Random(2, small)
			s = open(t, server, loseAnswers(t, server, 1, func(n int) {
				if n == 2 {
					other.Put(t, direct, loc)
				}
			}), quick)
			// It was committed. versitygw still knows that; MinIO does not.
			if err := stage(t, s, loc, c).Commit(t.Context()); err != nil && !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("commit what was replaced at once: %v; want ErrUnavailable, or none", err)
			}
			other.Check(t, direct, loc)

			s = open(t, server, loseAnswers(t, server, maxAttempts, func(int) {}), quick)
			staged := stage(t, s, loc, c)
			if err := staged.Commit(t.Context()); !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("commit without any answer: %v; want ErrUnavailable", err)
			}
			if err := staged.Abort(t.Context()); err != nil {
				t.Errorf("abort: %v", err)
			}
			c.Check(t, direct, loc)
			checkNoParts(t, server)
		})
	}
}

func TestJoinCRC(t *testing.T) {
	c := storagetest.Random(1, 100_000)
	whole := crc32.ChecksumIEEE(c.Data)
	for _, first := range []int{0, 1, 2, 3, 255, 256, 65_537, 99_999, 100_000} {
		a, b := crc32.ChecksumIEEE(c.Data[:first]), crc32.ChecksumIEEE(c.Data[first:])
		if got := joinCRC(a, b, int64(100_000-first)); got != whole {
			t.Errorf("%d bytes and the rest: %08x; want %08x", first, got, whole)
		}
	}
}
