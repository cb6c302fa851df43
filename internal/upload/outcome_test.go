package upload_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tecken-upload/internal/upload"
)

// A refusal is a failure of ours that clients hear little of, and operators what they need.
func TestRefusals(t *testing.T) {
	cause := errors.New("secret")
	err := fmt.Errorf("put a/1/a: %w", &upload.RefusedError{Code: "AccessDenied", Advice: "the rights", Err: cause})
	for _, kind := range []error{upload.ErrUnavailable, upload.ErrRefused, cause} {
		if !errors.Is(err, kind) {
			t.Errorf("%v is not %v", err, kind)
		}
	}
	if got := upload.OutcomeOf(err); got != upload.Failed {
		t.Errorf("%v is the outcome %s", err, got)
	}
	if text := err.Error(); text != "put a/1/a: refused with AccessDenied (look at the rights): secret" {
		t.Errorf("logged as %q", text)
	}
	if text := upload.Sentence(err); strings.Contains(text, "secret") || !strings.Contains(text, "Trying again does not help") {
		t.Errorf("told as %q", text)
	}
}
