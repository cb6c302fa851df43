package uploadwatch

import (
	"errors"
	"log/slog"
	"strings"

	"tecken-upload/internal/upload"
)

// extensions returns the classes of Extension, without "other".
func extensions() []string {
	return []string{".sym", ".pdb", ".dll", ".exe", ".pd_", ".dl_", ".ex_", ".dbg.gz", ".tar.bz2"}
}

// Extension returns the class of a file's name: one of .sym .pdb .dll .exe .pd_ .dl_ .ex_ .dbg.gz .tar.bz2, in
// any case, or "other".
func Extension(name string) string {
	name = strings.ToLower(name)
	for _, e := range extensions() {
		if strings.HasSuffix(name, e) {
			return e
		}
	}
	return other
}

// A tally counts files.
type tally struct {
	files         int
	bytes, stored int64
}

func (t *tally) add(f upload.File) {
	t.files++
	t.bytes += f.Size
	t.stored += f.StoredSize
}

// tallies count an upload's files in every way that is reported.
type tallies struct {
	all         tally
	byState     map[upload.FileState]tally
	byExtension map[string]tally
	byBoth      map[[2]string]tally // state, extension
}

func count(files []upload.File) tallies {
	t := tallies{
		byState:     make(map[upload.FileState]tally),
		byExtension: make(map[string]tally),
		byBoth:      make(map[[2]string]tally),
	}
	for _, f := range files {
		extension := Extension(f.Name)
		t.all.add(f)
		plus(t.byState, f.State, f)
		plus(t.byExtension, extension, f)
		plus(t.byBoth, [2]string{string(f.State), extension}, f)
	}
	return t
}

func plus[K comparable](m map[K]tally, key K, f upload.File) {
	t := m[key]
	t.add(f)
	m[key] = t
}

// facts are all that explains an upload. status is that of its answer.
func facts(r *upload.Report, t tallies, status int) []slog.Attr {
	u := &r.Upload
	out := []slog.Attr{
		slog.Int64("upload", u.ID),
		slog.Int64("tenant", u.TokenID),
		slog.String("label", u.TokenLabel),
		slog.String("user", u.User),
		slog.String("filename", u.Filename),
		slog.Bool("try", u.Try),
		slog.String("format", u.Format),
		slog.Int64("bytes", u.Size),
		slog.Int("members", t.all.files),
		slog.Int64("member_bytes", t.all.bytes),
		slog.Int64("stored_bytes", t.all.stored),
		slog.Int("uploaded", t.byState[upload.FileUploaded].files),
		slog.Int("skipped", t.byState[upload.FileSkipped].files),
		slog.Int("ignored", t.byState[upload.FileIgnored].files),
		slog.Int("pending", t.byState[upload.FilePending].files),
		{Key: "extensions", Value: byExtension(t)},
		{Key: "phases", Value: byPhase(r)},
	}
	if r.Declared >= 0 {
		out = append(out, slog.Int64("declared", r.Declared))
	}
	if u.DownloadURL != "" {
		out = append(out, slog.String("download_url", u.DownloadURL), slog.String("redirect_urls", strings.Join(u.RedirectURLs, " ")))
	}
	if !u.EndedAt.IsZero() && !u.CreatedAt.IsZero() {
		out = append(out, slog.Duration("elapsed", u.EndedAt.Sub(u.CreatedAt)))
	}
	out = append(out,
		slog.String("outcome", string(u.Outcome)),
		slog.Int("status", status),
		slog.String("phase", string(u.Phase)),
	)
	if err := cause(r); err != nil {
		out = append(out, slog.String("err", err.Error()))
	}
	return out
}

func byExtension(t tallies) slog.Value {
	var group []slog.Attr
	for _, e := range append(extensions(), other) {
		if n := t.byExtension[e]; n.files > 0 {
			group = append(group, slog.Group(e, slog.Int("files", n.files), slog.Int64("bytes", n.bytes)))
		}
	}
	return slog.GroupValue(group...)
}

func byPhase(r *upload.Report) slog.Value {
	var group []slog.Attr
	for _, p := range phases() {
		if d, ok := r.Phases[p]; ok {
			group = append(group, slog.Duration(string(p), d))
		}
	}
	return slog.GroupValue(group...)
}

func phases() []upload.Phase {
	return []upload.Phase{upload.PhaseReceive, upload.PhaseVerify, upload.PhasePublish, upload.PhaseRecord}
}

// cause returns why an upload did not complete, nil where it did.
func cause(r *upload.Report) error {
	switch {
	case r.Err != nil:
		return r.Err
	case r.Upload.Error != "":
		return errors.New(r.Upload.Error)
	case r.Upload.Outcome != upload.Completed:
		return errors.New("for no reason given")
	}
	return nil
}
