package s3store

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// The kinds of errors, for tables.
const (
	unavailable = "unavailable"
	refused     = "refused"
	notFound    = "not found"
)

// kindOf returns the narrowest kind of an error.
func kindOf(err error) string {
	switch {
	case errors.Is(err, upload.ErrNotFound):
		return notFound
	case errors.Is(err, upload.ErrRefused):
		return refused
	case errors.Is(err, upload.ErrUnavailable):
		return unavailable
	}
	return "none"
}

// S3's answers and their kinds: temporary or refused. Permanent errors are not retried.
func TestKinds(t *testing.T) {
	const blamed = 2 // if metadata may have been lost, the bucket is asked for once
	for _, c := range []struct {
		status   int
		code     string
		kind     string
		requests int
	}{
		{500, "InternalError", unavailable, maxAttempts},
		{502, "", unavailable, maxAttempts},
		{503, "SlowDown", unavailable, maxAttempts},
		{503, "ServiceUnavailable", unavailable, maxAttempts},
		{429, "TooManyRequests", unavailable, maxAttempts},
		{400, "RequestTimeout", unavailable, maxAttempts},
		{400, "ThrottlingException", unavailable, maxAttempts},
		{400, "BadDigest", unavailable, maxAttempts},
		{400, "IncompleteBody", unavailable, maxAttempts},
		{400, "XAmzContentSHA256Mismatch", unavailable, maxAttempts},
		{507, "XMinioStorageFull", unavailable, 1},
		{409, "OperationAborted", unavailable, 1},
		{404, "NoSuchUpload", unavailable, 1},
		{307, "TemporaryRedirect", unavailable, 1},

		{400, "InvalidArgument", refused, 1},
		{400, "InvalidRequest", refused, 1},
		{400, "KeyTooLongError", refused, 1},
		{400, "EntityTooLarge", refused, 1},
		{400, "MetadataTooLarge", refused, 1},
		{400, "XMinioInvalidObjectName", refused, 1},
		{400, "", refused, 1},
		{413, "", refused, 1},
		{414, "", refused, 1},

		{403, "AccessDenied", refused, blamed},
		{400, "AccessDenied", refused, blamed},
		{503, "AccessDenied", refused, blamed},
		{403, "SignatureDoesNotMatch", refused, blamed},
		{403, "", refused, blamed},
		{403, "QuotaExceeded", refused, blamed},
		{401, "", refused, 1},
		{403, "InvalidAccessKeyId", refused, 1},
		{400, "InvalidToken", refused, 1},
		{400, "ExpiredToken", refused, 1},
		{403, "RequestTimeTooSkewed", refused, 1}, // by a clock that is right
		{404, "NoSuchBucket", refused, 1},
		{404, "", refused, 1},
		{400, "AuthorizationHeaderMalformed", refused, 1},
		{301, "PermanentRedirect", refused, 1},
		{400, "KMS.DisabledException", refused, 1},
		{405, "MethodNotAllowed", refused, 1},
		{411, "MissingContentLength", refused, 1},
		{501, "NotImplemented", refused, 1},
		{500, "NotImplemented", refused, 1},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.code), func(t *testing.T) {
			server := testenv.S3Server{Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}
			refuser := testenv.RefuseS3(t, "http://127.0.0.1:1", 1000, c.status, c.code)
			s := open(t, server, refuser.Endpoint, quick)
			err := put(t.Context(), t, s, storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small), nil)
			if got := kindOf(err); got != c.kind {
				t.Errorf("put: %v is %s; want %s", err, got, c.kind)
			}
			if got := refuser.Requests(); got != c.requests {
				t.Errorf("%d requests; want %d", got, c.requests)
			}
			refusal := (*upload.RefusedError)(nil)
			if is := errors.As(err, &refusal); is != errors.Is(err, upload.ErrRefused) {
				t.Errorf("a refusal: %t", is)
			}
			if got := kindOf(s.Prove(t.Context())); got != c.kind {
				t.Errorf("prove: %s; want %s", got, c.kind)
			}
			if refusal != nil && (refusal.Code != c.code && refusal.Code != fmt.Sprint(c.status) || refusal.Advice == "") {
				t.Errorf("code %q, advice %q", refusal.Code, refusal.Advice)
			}
		})
	}
}

// Answers to HEAD have no code.
func TestKindsWithoutACode(t *testing.T) {
	for status, want := range map[int]struct{ stat, check string }{
		500: {unavailable, unavailable},
		503: {unavailable, unavailable},
		507: {unavailable, unavailable},
		400: {refused, refused},
		403: {refused, refused},
		404: {notFound, refused},
		301: {refused, refused},
	} {
		server := testenv.S3Server{Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}
		s := open(t, server, testenv.RefuseS3(t, "http://127.0.0.1:1", 1000, status, "").Endpoint, quick)
		_, err := s.Stat(t.Context(), storagetest.Location(t, "a.pdb/1/a.pdb"))
		if got := kindOf(err); got != want.stat {
			t.Errorf("%d: stat: %v; want %s", status, err, want.stat)
		}
		if err := s.Check(t.Context()); kindOf(err) != want.check {
			t.Errorf("%d: check: %v; want %s", status, err, want.check)
		}
	}
}

// nginx drops headers with an underscore in their names, as metadata have. That breaks the signature; the error says what to change.
func TestHeadersThatAProxyDrops(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			s := open(t, server, nginx("")(t, server), quick)
			loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small)
			check := func(doing string, err error) {
				t.Helper()
				if kindOf(err) != refused || !strings.Contains(err.Error(), "underscores_in_headers") {
					t.Errorf("%s: %v", doing, err)
				}
			}
			check("put", put(t.Context(), t, s, loc, c, nil))
			check("prove", s.Prove(t.Context()))
			if _, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
				t.Errorf("stat: %v; want ErrNotFound", err)
			}
			c.Put(t, open(t, server, server.Endpoint, quick), loc)
			check("refresh", s.Refresh(t.Context(), loc, c.Object))
			check("set aside", s.SetAside(t.Context(), loc, storagetest.Version(t, s, loc)))
		})
	}
}

// If a bucket refuses HEADs of objects, every upload fails though it answers and takes PUTs. The proof notices.
func TestProofOfARefusedLookup(t *testing.T) {
	server := testenv.S3(t)
	refuser := testenv.RefuseSome(t, server.Endpoint, func(r *http.Request) bool {
		return r.Method == http.MethodHead && strings.Count(r.URL.Path, "/") > 1
	})
	s := open(t, server, refuser.Endpoint, quick)
	refuser.Refuse(http.StatusForbidden, "AccessDenied")
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if err := s.Prove(t.Context()); kindOf(err) != refused {
		t.Errorf("prove: %v", err)
	}
	refuser.Take()
	if err := s.Prove(t.Context()); err != nil {
		t.Errorf("prove again: %v", err)
	}
}

// A proxy is not blamed for a wrong secret.
func TestAWrongSecretIsNamed(t *testing.T) {
	for name, start := range servers {
		server := start(t)
		server.Secret = "another-secret"
		s := open(t, server, server.Endpoint, quick)
		err := put(t.Context(), t, s, storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small), nil)
		if kindOf(err) != refused || !strings.Contains(err.Error(), "SignatureDoesNotMatch (look at the secret key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Storage that loses metadata would never let an upload skip a file. The first object shows it.
func TestMetadataThatAreLost(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, testenv.Forgetful(t, server), quick)
	for name, err := range map[string]error{
		"put":       put(t.Context(), t, s, storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, small), nil),
		"put again": put(t.Context(), t, s, storagetest.Location(t, "a.pdb/2/a.pdb"), storagetest.Random(1, small), nil),
		"prove":     s.Prove(t.Context()),
	} {
		refusal := (*upload.RefusedError)(nil)
		if !errors.As(err, &refusal) || refusal.Code != "MetadataLost" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A failed check of metadata proves nothing: the next object is checked.
func TestALookAtMetadataThatFails(t *testing.T) {
	server := testenv.S3(t)
	direct := open(t, server, server.Endpoint, Options{})
	loc, looks := storagetest.Location(t, "a.pdb/1/a.pdb"), 0
	s := open(t, server, testenv.HoldS3(t, server.Endpoint, func(r *http.Request) bool {
		if r.Method == http.MethodHead {
			if looks++; looks == 1 { // it was replaced meanwhile
				storagetest.Random(7, small).Put(t, direct, loc)
			}
		}
		return false
	}), quick)
	for i := range 4 {
		if err := put(t.Context(), t, s, loc, storagetest.Random(uint64(i), small), nil); err != nil {
			t.Errorf("put: %v", err)
		}
	}
	if looks != 2 {
		t.Errorf("%d looks; want 2", looks)
	}
}
