package record_test

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// A library is a varied database and its content.
type library struct {
	store   *record.Store
	users   []upload.Token
	uploads []upload.Upload // by id, from 1
	userIDs map[string]int64
	// prefixes: the database has no trigram index of keys.
	prefixes bool
}

var libraryStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newLibrary(t *testing.T, url string, uploads int) *library {
	t.Helper()
	l := &library{store: openMigrated(t, url, record.Options{}), userIDs: make(map[string]int64)}
	for _, name := range []string{"ci@example.com", "dev@example.com", "idle@example.com"} {
		_, tok, err := l.store.CreateToken(t.Context(), record.TokenSpec{User: name, Permissions: []upload.Permission{upload.PermissionUpload}, Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		l.users = append(l.users, tok)
		l.userIDs[name] = tok.UserID
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range uploads {
		l.add(t, random)
	}
	return l
}

// add records one more upload.
func (l *library) add(t *testing.T, random *rand.Rand) {
	t.Helper()
	tok := l.users[min(random.IntN(5), 1)]
	u := upload.Upload{
		User: tok.User, TokenID: tok.ID, Bucket: []string{"symbols", "other"}[random.IntN(2)], Try: random.IntN(3) == 0, Filename: "symbols.zip", Format: "zip",
		Size: int64(random.IntN(20)), CreatedAt: libraryStart.Add(time.Duration(random.IntN(40)) * time.Hour), // many at once
	}
	if err := l.store.Begin(t.Context(), &u); err != nil {
		t.Fatal(err)
	}
	if random.IntN(8) != 0 {
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt.Add(time.Minute)
		if random.IntN(4) == 0 {
			u.Outcome, u.Error = upload.Failed, "Internal Server Error"
		}
		for i := range random.IntN(12) {
			key := mustKey(t, fmt.Sprintf("%s/%X/x.%s", []string{"xul.p", "xul.pdb", "xul_a.pdb", "XULba.pdb", "Größe.so"}[random.IntN(5)], 0xA110+random.IntN(3), []string{"sym", "SYM", "pd_"}[random.IntN(3)]))
			u.Files = append(u.Files, upload.File{
				Name: fmt.Sprintf("%d-%s", i, key), Key: key, State: []upload.FileState{upload.FileUploaded, upload.FileSkipped, upload.FilePending}[random.IntN(3)],
				Size: 1000, StoredSize: int64(random.IntN(20)), Replaced: random.IntN(4) == 0, MD5: upload.MD5{1},
			})
		}
		if random.IntN(5) == 0 {
			u.Files = append(u.Files, upload.File{Name: "x-symbols.txt", State: upload.FileIgnored})
		}
		if err := l.store.Finish(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
	}
	l.uploads = append(l.uploads, u)
}

// wantUploads returns the expected ids of a list, in order.
func (l *library) wantUploads(q *catalogue.UploadQuery) []int64 {
	var found []*upload.Upload
	for i := range l.uploads {
		u := &l.uploads[i]
		if l.matches(u, q.UserID, q.User, q.Created, q.Try, q.Buckets) && q.Size.Holds(u.Size) &&
			(q.Completed == nil || u.Outcome == upload.Completed && q.Completed.Holds(u.EndedAt.UnixMicro())) && (!q.Incomplete || u.Outcome != upload.Completed) &&
			(!q.Running || u.EndedAt.IsZero()) && (q.Running || q.Outcome == "" || q.Outcome == u.Outcome) {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b *upload.Upload) int {
		order := cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		if q.BySize {
			order = cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.ID, b.ID))
		}
		if !q.Ascending {
			order = -order
		}
		return order
	})
	ids := []int64{}
	for _, u := range found[min(q.Skip, len(found)):] {
		ids = append(ids, u.ID)
	}
	return ids
}

func (l *library) matches(u *upload.Upload, userID int64, user catalogue.Term, created *catalogue.Span, try *bool, buckets []catalogue.Term) bool {
	asked, among := false, false
	for _, b := range buckets {
		if b.Not && b.Text == u.Bucket {
			return false
		}
		asked, among = asked || !b.Not, among || b.Text == u.Bucket
	}
	return (userID == 0 || l.userIDs[u.User] == userID) && (user.Text == "" || strings.Contains(u.User, user.Text) != user.Not) &&
		created.Holds(u.CreatedAt.UnixMicro()) && (try == nil || *try == u.Try) && (!asked || among)
}

// wantFiles returns the expected files of a list, in order.
func (l *library) wantFiles(q *catalogue.FileQuery) []string {
	type row struct {
		u        *upload.Upload
		f        *upload.File
		position int
	}
	var found []row
	for i := range l.uploads {
		u := &l.uploads[i]
		for j := range u.Files {
			f := &u.Files[j]
			if l.matches(u, q.UserID, q.User, q.Created, q.Try, q.Buckets) && matchesFile(u, f, q) && matchesKey(f, q, l.prefixes) {
				found = append(found, row{u, f, j})
			}
		}
	}
	// Files have their ids in the order in which uploads ended, here the uploads' own.
	slices.SortFunc(found, func(a, b row) int {
		byID := cmp.Or(cmp.Compare(a.u.ID, b.u.ID), cmp.Compare(a.position, b.position))
		switch {
		case len(q.Keys)+len(q.Prefixes) == 0:
			return cmp.Or(b.u.CreatedAt.Compare(a.u.CreatedAt), cmp.Compare(b.u.ID, a.u.ID), cmp.Compare(a.position, b.position))
		case slices.ContainsFunc(q.Keys, func(k string) bool { return !l.prefixes && utf8.RuneCountInString(k) > 2 }):
			return -byID
		}
		return cmp.Or(strings.Compare(a.f.Key.Fold(), b.f.Key.Fold()), byID)
	})
	names := []string{}
	for _, r := range found[min(q.Skip, len(found)):] {
		names = append(names, fmt.Sprint(r.u.ID, " ", r.f.Name))
	}
	return names
}

func matchesFile(u *upload.Upload, f *upload.File, q *catalogue.FileQuery) bool {
	return f.State == upload.FileUploaded && q.Size.Holds(f.StoredSize) && q.Completed.Holds(u.EndedAt.UnixMicro()) &&
		(q.Compressed == nil || *q.Compressed == f.Key.IsSym()) && (q.Replaced == nil || *q.Replaced == f.Replaced)
}

// matchesKey compares a key; with prefixes, parts match at its beginning alone.
func matchesKey(f *upload.File, q *catalogue.FileQuery, prefixes bool) bool {
	key := f.Key.Fold()
	for _, part := range q.Keys {
		if short := prefixes || utf8.RuneCountInString(part) < 3; short && !strings.HasPrefix(key, part) || !strings.Contains(key, part) {
			return false
		}
	}
	for _, prefix := range q.Prefixes {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
	}
	return true
}

// allUploads follows a list from page to page.
func allUploads(t *testing.T, s *record.Store, q catalogue.UploadQuery, between func()) []int64 {
	t.Helper()
	ids := []int64{}
	for {
		page, err := s.ListUploads(t.Context(), &q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Uploads) > q.Limit || page.Next == q.After && page.Next != "" {
			t.Fatalf("%d uploads of %d, behind %q comes %q", len(page.Uploads), q.Limit, q.After, page.Next)
		}
		for i := range page.Uploads {
			ids = append(ids, page.Uploads[i].ID)
		}
		if page.Next == "" {
			return ids
		}
		q.After, q.Skip = page.Next, 0
		if between != nil {
			between()
		}
	}
}

// allFiles is the same for files.
func allFiles(t *testing.T, s *record.Store, q catalogue.FileQuery, between func()) []string {
	t.Helper()
	names := []string{}
	for {
		page, err := s.ListFiles(t.Context(), &q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Files) > q.Limit || page.Next == q.After && page.Next != "" {
			t.Fatalf("%d files of %d, behind %q comes %q", len(page.Files), q.Limit, q.After, page.Next)
		}
		for i := range page.Files {
			names = append(names, fmt.Sprint(page.Files[i].Upload.ID, " ", page.Files[i].Name))
		}
		if page.Next == "" {
			return names
		}
		q.After, q.Skip = page.Next, 0
		if between != nil {
			between()
		}
	}
}

func randomSpan(random *rand.Rand, from func(int) int64, chance int) *catalogue.Span {
	if random.IntN(chance) != 0 {
		return nil
	}
	a := random.IntN(40)
	return &catalogue.Span{From: from(a), Until: from(a + random.IntN(20))}
}

func randomUploadQuery(l *library, random *rand.Rand) catalogue.UploadQuery {
	hours := func(n int) int64 { return libraryStart.Add(time.Duration(n) * time.Hour).UnixMicro() }
	q := catalogue.UploadQuery{
		BySize: random.IntN(2) == 0, Ascending: random.IntN(2) == 0, Limit: 1 + random.IntN(30),
		Size: randomSpan(random, func(n int) int64 { return int64(n) / 2 }, 3), Created: randomSpan(random, hours, 3),
	}
	switch random.IntN(6) {
	case 0:
		q.UserID = l.users[random.IntN(3)].UserID
	case 1:
		q.User.Text = []string{"dev@example.com", "ci@", "idle@example.com", "nobody@example.com", "example", "d", "%", "_"}[random.IntN(8)]
		q.User.Not = random.IntN(3) == 0
	}
	if random.IntN(4) == 0 {
		try := random.IntN(2) == 0
		q.Try = &try
	}
	for random.IntN(4) == 0 {
		q.Buckets = append(q.Buckets, catalogue.Term{Text: []string{"symbols", "other", "x"}[random.IntN(3)], Not: random.IntN(2) == 0})
	}
	switch random.IntN(6) {
	case 0:
		q.Running = true
	case 1:
		q.Outcome = upload.Failed
	case 2:
		q.Completed = randomSpan(random, hours, 1)
	case 3:
		q.Incomplete = true
	}
	return q
}

func randomFileQuery(l *library, random *rand.Rand) catalogue.FileQuery {
	u := randomUploadQuery(l, random)
	q := catalogue.FileQuery{UserID: u.UserID, User: u.User, Size: u.Size, Created: u.Created, Completed: u.Completed, Try: u.Try, Buckets: u.Buckets, Limit: u.Limit}
	flag := func() *bool {
		yes := random.IntN(2) == 0
		return &yes
	}
	switch random.IntN(6) {
	case 0:
		q.Compressed = flag()
	case 1:
		q.Replaced = flag()
	}
	parts := []string{"XUL", "UL_A", "B/A", "PDB/A110/X", ".SYM", "A111", "110", "GRÖSSE", "RÖẞ", "%", "_", "\"", "'", "NOT", "XUL.PDB/A112/X.SYM", "X", "XU", "gr", "größe.so/A110/x.sym"}
	for random.IntN(5) < 2 {
		q.Keys = append(q.Keys, symbol.Fold(parts[random.IntN(len(parts))]))
	}
	for random.IntN(8) == 0 {
		q.Prefixes = append(q.Prefixes, []string{"X", "XUL", "XUL_", "XUL%", "NOTHING"}[random.IntN(5)])
	}
	return q
}

// For any query and scan limit, the pages together have every match, in order.
func TestListsFindWhatIsThere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		l := newLibrary(t, url, 50)
		random := rand.New(rand.NewPCG(3, 4))
		for i := range 200 {
			l.store.Scan = []int{3, 7, 40, 4000}[i%4]
			q := randomUploadQuery(l, random)
			if diff := gocmp.Diff(l.wantUploads(&q), allUploads(t, l.store, q, nil)); diff != "" {
				t.Errorf("uploads of %+v (-want +got)\n%s", q, diff)
			}
			f := randomFileQuery(l, random)
			if diff := gocmp.Diff(l.wantFiles(&f), allFiles(t, l.store, f, nil)); diff != "" {
				t.Errorf("files of %+v (-want +got)\n%s", f, diff)
			}
		}
	})
}

// While uploads come in, the pages of a list together have every older row exactly once.
func TestPagesWhileUploadsComeIn(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		l := newLibrary(t, url, 40)
		random := rand.New(rand.NewPCG(5, 6))
		try := false
		for _, q := range []catalogue.UploadQuery{{Limit: 3}, {Limit: 3, Ascending: true}, {Limit: 3, BySize: true}, {Limit: 2, Try: &try}} {
			l.store.Scan = 5
			old := l.wantUploads(&q)
			added := 0
			got := allUploads(t, l.store, q, func() {
				if added++; added < 20 {
					l.add(t, random)
				}
			})
			wantOnce(t, old, got)
		}
		for _, q := range []catalogue.FileQuery{{Limit: 7}, {Limit: 3, Prefixes: []string{"XUL"}}, {Limit: 3, Keys: []string{"UL.P"}}, {Limit: 3, Try: &try}} {
			old := l.wantFiles(&q)
			added := 0
			got := allFiles(t, l.store, q, func() {
				if added++; added < 20 {
					l.add(t, random)
				}
			})
			wantOnce(t, old, got)
		}
	})
}

// wantOnce asserts that got has all of want, in order, and nothing twice.
func wantOnce[T comparable](t *testing.T, want, got []T) {
	t.Helper()
	seen := make(map[T]int)
	for _, v := range got {
		seen[v]++
		if seen[v] == 2 {
			t.Errorf("%v was seen twice", v)
		}
	}
	isOld := make(map[T]bool)
	for _, v := range want {
		isOld[v] = true
	}
	old := slices.DeleteFunc(slices.Clone(got), func(v T) bool { return !isOld[v] })
	if diff := gocmp.Diff(want, old); diff != "" {
		t.Errorf("rows that were there before (-want +got)\n%s", diff)
	}
}

func TestCursorsOfOtherListsAreRefused(t *testing.T) { eachDatabase(t, testCursorsOfOtherLists) }

func testCursorsOfOtherLists(t *testing.T, url string) {
	s := newLibrary(t, url, 20).store
	page, err := s.ListUploads(t.Context(), &catalogue.UploadQuery{Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	var errs []error
	for _, after := range []string{"2", "?", "Yy4x", "Yy4xLjI_", page.Next + "!", strings.Repeat("A", 1<<20), "\x00", "Yy4tOTIyMzM3MjAzNjg1NDc3NTgwOS4x"} {
		_, err := s.ListUploads(t.Context(), &catalogue.UploadQuery{Limit: 1, After: after})
		errs = append(errs, err)
	}
	later := page.Uploads[0].CreatedAt.Add(time.Hour).UnixMicro()
	for _, q := range []catalogue.UploadQuery{
		{BySize: true}, {Ascending: true}, {BySize: true, Ascending: true}, {Created: &catalogue.Span{From: later, Until: later + 1}},
	} {
		q.Limit, q.After = 1, page.Next
		_, err := s.ListUploads(t.Context(), &q)
		errs = append(errs, err)
	}
	files, err := s.ListFiles(t.Context(), &catalogue.FileQuery{Limit: 1, Prefixes: []string{"XUL"}})
	if err != nil || files.Next == "" {
		t.Fatal(files, err)
	}
	for _, q := range []catalogue.FileQuery{{}, {Keys: []string{"XUL"}}, {Prefixes: []string{"A"}}, {Prefixes: []string{"XUM"}}} {
		q.Limit, q.After = 1, files.Next
		_, err := s.ListFiles(t.Context(), &q)
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, catalogue.ErrCursor) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Any cursor gives a page, or the error that it is of no list.
func TestHostileCursors(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := newLibrary(t, url, 5).store
		hostile := []string{
			"-1", "0", "1", "2147483646", "2147483647", "2147483648", "4294967296", "9223372036854775806", "9223372036854775807",
			"-2147483649", "-9223372036854775808", "9223372036854775808", "1e3", "0x1", "", " 1", "NaN",
		}
		ask := func(text string) (errs []error) {
			after := base64.RawURLEncoding.EncodeToString([]byte(text))
			for _, q := range []catalogue.UploadQuery{{}, {Ascending: true}, {BySize: true}, {BySize: true, Ascending: true}} {
				q.After, q.Limit = after, 3
				_, err := s.ListUploads(t.Context(), &q)
				errs = append(errs, err)
			}
			for _, q := range []catalogue.FileQuery{{}, {Keys: []string{"XUL.P"}}, {Keys: []string{"XU"}}, {Prefixes: []string{"XUL"}}} {
				q.After, q.Limit = after, 3
				_, err := s.ListFiles(t.Context(), &q)
				errs = append(errs, err)
			}
			return errs
		}
		lists := 0
		for _, list := range []string{"c.%s.1", "c.1.%s", "C.%s.%s", "s.%s.1", "s.1.%s", "S.%s.%s", "f.%s.1.1", "f.1700000000000000.%s.0", "f.1700000000000000.1.%s", "k.%s", "q.%s.XUL", "q.1.XUL%s"} {
			for _, n := range hostile {
				text := strings.ReplaceAll(list, "%s", n)
				for i, err := range ask(text) {
					switch {
					case err == nil:
						lists++
					case !errors.Is(err, catalogue.ErrCursor):
						t.Errorf("%s in list %d: %v", text, i, err)
					}
				}
			}
		}
		if lists == 0 {
			t.Error("no cursor was of any list")
		}
	})
}
