package upload_test

import (
	"archive/zip"
	"context"
	"iter"
	"testing"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/upload"
)

// early is a source that yields its members before it says that its body is there.
type early struct {
	*testing.T
	content source
	archive *archive.Archive
	seen    []upload.Phase // that the upload is in as each member comes
	phase   func() upload.Phase
}

func (e *early) Members(ctx context.Context, in *upload.Arrival) iter.Seq2[*archive.Member, error] {
	return func(yield func(*archive.Member, error) bool) {
		d, err := e.content.Deliver(ctx, in)
		if err != nil {
			e.Fatal(err)
		}
		info, err := d.File.Stat()
		if err == nil {
			e.archive, err = archive.Open(ctx, d.File, info.Size(), archive.Limits{MaxMembers: 10, MaxMemberSize: 1 << 20, MaxExtractedSize: 1 << 20}, in.Work())
		}
		if err != nil {
			e.Fatal(err)
		}
		for m, err := range e.archive.Members(ctx) {
			e.seen = append(e.seen, e.phase())
			if !yield(m, err) {
				return
			}
		}
		if _, err := in.Received(ctx, d); err != nil {
			yield(nil, err)
		}
	}
}

func (e *early) Each(ctx context.Context, parallel int, do func(context.Context, *archive.Member) error) error {
	return e.archive.Each(ctx, parallel, do)
}

// A source may bring verified members while its body still arrives; none of them is published before the last one has come.
func TestMembersMayComeBeforeTheirBody(t *testing.T) {
	h := newHouse(t)
	ws, err := h.spool.Create(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	e := &early{T: t, content: source{content: zipOf(t, members, zip.Deflate)}, phase: func() upload.Phase {
		if h.storage.puts > 0 {
			t.Error("published before all of it was verified")
		}
		u, _ := h.service.InFlight(1)
		return u.Phase
	}}
	r := h.service.Run(t.Context(), upload.Request{Token: regular, Declared: -1, Pass: &pass{ws: ws}, Source: e})
	if r.Err != nil || len(r.Upload.Files) != len(members) || len(e.seen) != len(members) || e.seen[len(members)-1] != upload.PhaseReceive {
		t.Errorf("%d files, in the phases %v: %v", len(r.Upload.Files), e.seen, r.Err)
	}
	for name, content := range members {
		if name == "build-symbols.txt" {
			continue
		}
		if got, ok := h.stored(name, false); !ok || got != content {
			t.Errorf("%s is stored as %q", name, got)
		}
	}
}
