package upload

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/spool"
)

// A Class says what a client can make of an error. A protocol answers each by a status of its own.
type Class int

// Classes of errors.
const (
	ClassBroken      Class = iota // a fault of ours, known or not: trying again does not help
	ClassGone                     // the client hung up: there is no answer
	ClassInvalid                  // the request is at fault
	ClassTooLarge                 // the request is over a limit of size
	ClassOverLimit                // the tenant is over its own limit: trying again later helps
	ClassUnavailable              // there is no room, or a service is down: trying again later helps
	ClassTooSlow                  // something took longer than it may
)

// A Kind says what an error means outside of the domain.
type Kind struct {
	Outcome Outcome // of an upload that ends with the error
	Class   Class
	Reason  string // one word for metrics, of an upload that is refused; empty where the error refuses none
	text    func(err error) string
}

// kinds is the one table of the errors that an upload may end or be refused with. The first that matches counts, so that what ended an
// upload stands before what that broke on its way.
var kinds = []struct {
	is     error
	kind   Kind
	reason func(err error) string // a more exact reason, or ""; may be nil
}{
	{ErrClientGone, Kind{Cancelled, ClassGone, "", fixed("The client closed the connection.")}, nil},
	{ErrShutdown, Kind{Interrupted, ClassUnavailable, "shutdown", fixed("The server is shutting down. Try again; what was published will be skipped.")}, nil},
	{ErrDeadline, Kind{TimedOut, ClassTooSlow, "slow", detailed((*DeadlineError).sentence)}, nil},
	{ErrReceiveTimeout, Kind{Rejected, ClassTooSlow, "slow", fixed("The body arrived too slowly.")}, nil},
	{ErrNotForm, Kind{Rejected, ClassInvalid, "form", fixed(ErrNotForm.Error())}, nil},
	{ErrNoFile, Kind{Rejected, ClassInvalid, "form", fixed(ErrNoFile.Error())}, nil},
	{ErrMalformed, Kind{Rejected, ClassInvalid, "form", fixed("The multipart form is malformed, or ends before its closing boundary.")}, nil},
	{archive.ErrInvalid, Kind{Rejected, ClassInvalid, "form", detailed(archiveReason)}, nil},
	{archive.ErrTooLarge, Kind{Rejected, ClassTooLarge, "size", detailed(archiveReason)}, nil},
	{ErrTooLarge, Kind{Rejected, ClassTooLarge, "size", detailed((*SizeError).Error)}, nil},
	{spool.ErrTooLarge, Kind{Rejected, ClassTooLarge, "size", detailed(func(e *spool.LimitError) string {
		return fmt.Sprintf("The upload needs more than the %d bytes that this server's spool has for one.", e.Limit)
	})}, nil},
	{ErrSource, Kind{Rejected, ClassInvalid, "url", detailed(sourceReason)}, nil},
	{ErrSourceDown, Kind{Rejected, ClassUnavailable, "url", detailed(sourceReason)}, nil},
	{ErrSourceSlow, Kind{Rejected, ClassTooSlow, "url", detailed(sourceReason)}, nil},
	{ErrOverLimit, Kind{Rejected, ClassOverLimit, "limit", detailed((*BusyError).Error)}, lackReason},
	{ErrBusy, Kind{Rejected, ClassUnavailable, "busy", detailed((*BusyError).Error)}, lackReason},
	{spool.ErrFull, Kind{Failed, ClassUnavailable, "disk_full", fixed("This server has no room for the upload. Try again later.")}, spoolReason},
	{ErrRefused, Kind{Failed, ClassBroken, "refused",
		fixed("A service this server depends on refuses to work for it. Trying again does not help: the server's operators have to mend this.")}, nil},
	{ErrUnavailable, Kind{Failed, ClassUnavailable, "unavailable", fixed("A service this server depends on is unavailable. Try again later.")}, backingReason},
}

// unknown is the kind of every other error.
var unknown = Kind{Failed, ClassBroken, "error", fixed("Internal Server Error")}

func fixed(text string) func(error) string { return func(error) string { return text } }

// detailed makes texts from an error of type E; where there is none in the chain, the error has the text of an unknown one.
func detailed[E error](text func(E) string) func(error) string {
	return func(err error) string {
		if e, ok := errors.AsType[E](err); ok {
			return text(e)
		}
		return unknown.text(err)
	}
}

// lackReason returns what there is no room for.
func lackReason(err error) string {
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return string(busy.Lack)
	}
	return ""
}

// spoolReason distinguishes a spool that uploads fill from a full disk.
func spoolReason(err error) string {
	if full, ok := errors.AsType[*spool.FullError](err); ok && full.Busy {
		return string(LackSpool)
	}
	return ""
}

// backingReason returns the service that is unavailable.
func backingReason(err error) string {
	if s, ok := errors.AsType[*backingError](err); ok {
		return string(s.service)
	}
	return ""
}

func archiveReason(e *archive.Error) string { return e.Reason }

func sourceReason(e *SourceError) string { return e.Reason }

// KindOf returns what err means, and whether that is in the table; an error of no known kind is a fault of ours.
func KindOf(err error) (kind Kind, known bool) {
	for _, k := range kinds {
		if !errors.Is(err, k.is) {
			continue
		}
		kind = k.kind
		if k.reason != nil {
			kind.Reason = cmp.Or(k.reason(err), kind.Reason)
		}
		return kind, true
	}
	return unknown, false
}

// Reasons lists the reasons of all kinds, of failures of ours alone or of refusals too, in order.
func Reasons(failures bool) []string {
	reasons := []string{unknown.Reason, string(BackingDatabase), string(BackingDisk)}
	for _, k := range kinds {
		if k.kind.Reason != "" && (k.kind.Ours() || !failures) {
			reasons = append(reasons, k.kind.Reason)
		}
	}
	if !failures {
		for _, l := range Lacks() {
			reasons = append(reasons, string(l))
		}
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// Ours reports whether errors of a kind are failures of ours, or of services that we depend on.
func (k Kind) Ours() bool { return k.Outcome == Failed || k.Outcome == TimedOut }

// OutcomeOf returns the outcome of an upload that ended with err.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Completed
	}
	kind, _ := KindOf(err)
	return kind.Outcome
}

// Sentence is what a client may read of err: one sentence, without addresses or paths. It is empty for nil.
func Sentence(err error) string {
	if err == nil {
		return ""
	}
	kind, _ := KindOf(err)
	return kind.text(err)
}
