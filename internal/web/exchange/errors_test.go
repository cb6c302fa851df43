package exchange

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/upload"
)

// sentinels are all that the packages of the upload path export, and those of the web, with the status each means.
var sentinels = map[string]struct {
	err    error
	status int
}{
	"upload.ErrUnavailable":      {upload.ErrUnavailable, 503},
	"upload.ErrRefused":          {upload.ErrRefused, 500},
	"upload.ErrBusy":             {upload.ErrBusy, 503},
	"upload.ErrOverLimit":        {upload.ErrOverLimit, 429},
	"upload.ErrDeadline":         {upload.ErrDeadline, 504},
	"upload.ErrShutdown":         {upload.ErrShutdown, 503},
	"upload.ErrClientGone":       {upload.ErrClientGone, 499},
	"upload.ErrReceiveTimeout":   {upload.ErrReceiveTimeout, 504},
	"upload.ErrTooLarge":         {upload.ErrTooLarge, 413},
	"upload.ErrSource":           {upload.ErrSource, 400},
	"upload.ErrSourceDown":       {upload.ErrSourceDown, 503},
	"upload.ErrSourceSlow":       {upload.ErrSourceSlow, 504},
	"archive.ErrInvalid":         {archive.ErrInvalid, 400},
	"archive.ErrTooLarge":        {archive.ErrTooLarge, 413},
	"upload.ErrNoFile":           {upload.ErrNoFile, 400},
	"upload.ErrNotForm":          {upload.ErrNotForm, 400},
	"upload.ErrMalformed":        {upload.ErrMalformed, 400},
	"spool.ErrFull":              {spool.ErrFull, 503},
	"spool.ErrTooLarge":          {spool.ErrTooLarge, 413},
	"exchange.ErrEncodedForm":    {ErrEncodedForm, 400},
	"exchange.ErrNoToken":        {ErrNoToken, 403},
	"exchange.ErrTokenUnknown":   {ErrTokenUnknown, 403},
	"exchange.ErrTokenExpired":   {ErrTokenExpired, 403},
	"exchange.ErrForbidden":      {ErrForbidden, 403},
	"exchange.ErrSymbolNotFound": {ErrSymbolNotFound, 404},
	"exchange.ErrNoRecord":       {ErrNoRecord, 404},
	"exchange.ErrBadQuery":       {ErrBadQuery, 400},
}

func TestEverySentinelHasAStatus(t *testing.T) {
	inside := []string{
		"upload.ErrNotFound", "archive.ErrMoreMemory", // these never leave the domain
		"spool.ErrInUse", "spool.ErrNotSpool", // the janitor's
		"web.errDiskFull", // a heartbeat's, never an answer
	}
	for _, dir := range []string{"../../upload", "../../archive", "../../spool", ".", "..", "../uploads", "../symbols", "../records"} {
		for _, name := range sentinelsOf(t, dir) {
			if _, ok := sentinels[name]; !ok && !slices.Contains(inside, name) {
				t.Errorf("%s is in no row of this test", name)
			}
		}
	}
	for name, s := range sentinels {
		_, known := upload.KindOf(s.err)
		if _, refused := errors.AsType[*Refusal](s.err); known == refused {
			t.Errorf("%s is in the table of kinds: %t; a refusal of the web's: %t", name, known, refused)
		}
		for _, err := range []error{s.err, fmt.Errorf("put x: %w", s.err), errors.Join(errors.New("secret"), s.err)} {
			if got := Status(err); got != s.status {
				t.Errorf("%s: status %d, want %d", name, got, s.status)
			}
		}
		if text := refusalOf(fmt.Errorf("put secret: %w", s.err)).text; strings.Contains(text, "secret") || text == "" {
			t.Errorf("%s is told as %q", name, text)
		}
	}
}

// The metric of refused uploads has few reasons, and counts every refusal by one of them.
func TestEveryRefusalHasAReason(t *testing.T) {
	reasons := []string{
		"busy", "database", "disk", "disk_full", "error", "fetch", "form", "limit", "permission", "queue", "receiving", "refused", "shutdown", "size",
		"slow", "spool", "time", "token", "unavailable", "url",
	}
	if diff := cmp.Diff(reasons, RefusalReasons()); diff != "" {
		t.Errorf("reasons: %s", diff)
	}
	if diff := cmp.Diff([]string{"database", "disk", "disk_full", "error", "refused", "slow", "unavailable"}, FailureCauses()); diff != "" {
		t.Errorf("causes: %s", diff)
	}
	none := map[string]bool{"upload.ErrClientGone": true, "exchange.ErrSymbolNotFound": true, "exchange.ErrNoRecord": true, "exchange.ErrBadQuery": true}
	for name, s := range sentinels {
		reason := Reason(fmt.Errorf("put x: %w", s.err))
		switch {
		case none[name] != (reason == ""), reason != "" && !slices.Contains(reasons, reason):
			t.Errorf("%s is counted as %q", name, reason)
		case Ours(s.err) && !slices.Contains(FailureCauses(), reason):
			t.Errorf("%s is a failure of ours, and %q no cause of one", name, reason)
		}
	}
	for err, want := range map[error]string{
		errors.New("x"):                                            "error",
		&upload.BusyError{Lack: upload.LackTime}:                   "time",
		&upload.BusyError{Lack: upload.LackFetch, OverLimit: true}: "fetch",
		&upload.BusyError{}:                                        "busy",
		&spool.FullError{Busy: true}:                               "spool",
		&spool.FullError{}:                                         "disk_full",
		&spool.LimitError{}:                                        "size",
		upload.OfBacking(upload.BackingDatabase, upload.ErrUnavailable):                "database",
		upload.OfBacking(upload.BackingDisk, &spool.FullError{}):                       "disk_full",
		upload.OfBacking(upload.BackingDisk, fmt.Errorf("%w", upload.ErrUnavailable)):  "disk",
		upload.OfBacking(upload.BackingDatabase, fmt.Errorf("%w", upload.ErrShutdown)): "shutdown",
	} {
		if got := Reason(fmt.Errorf("enter: %w", err)); got != want {
			t.Errorf("%T %v is counted as %q, not %q", err, err, got, want)
		}
	}
}

// sentinelsOf finds the package-level errors of a package in its source: those that it exports or, of one of the web's, all.
func sentinelsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	set := token.NewFileSet()
	packages, err := parser.ParseDir(set, dir, nil, 0) //nolint:staticcheck // one directory, no build tags
	if err != nil {
		t.Fatal(err)
	}
	for name, pkg := range packages {
		for path, file := range pkg.Files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, decl := range file.Decls {
				if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.VAR {
					for _, spec := range gen.Specs {
						for _, ident := range spec.(*ast.ValueSpec).Names {
							if strings.HasPrefix(ident.Name, "Err") || strings.HasPrefix(ident.Name, "err") && !strings.HasPrefix(dir, "../../") {
								names = append(names, name+"."+ident.Name)
							}
						}
					}
				}
			}
		}
	}
	return names
}

func TestRetryAfterIsAWholeSecondAtLeast(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", 1001 * time.Millisecond: "2", time.Minute: "60"} {
		if got := retryAfterOf(fmt.Errorf("enter: %w", &upload.BusyError{RetryAfter: wait})); got != want {
			t.Errorf("%v is told as %s, want %s", wait, got, want)
		}
	}
}

// What is down refuses everybody at once; they do not come back at once.
func TestRetryAfterIsSpread(t *testing.T) {
	told := make(map[int]bool)
	for range 1000 {
		wait, err := strconv.Atoi(retryAfterOf(upload.ErrUnavailable))
		if err != nil || wait < 11 || wait > 19 {
			t.Fatalf("%d s, %v", wait, err)
		}
		told[wait] = true
	}
	if len(told) < 6 {
		t.Errorf("only %v", told)
	}
}
