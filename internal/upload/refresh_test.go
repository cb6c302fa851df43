package upload_test

import (
	"archive/zip"
	"testing"
	"time"

	"tecken-upload/internal/upload"
)

func TestAnOldObjectIsRefreshedWhenSkipped(t *testing.T) {
	h := newHouse(t)
	files := map[string]string{"a/AA/a.sym": sym}
	h.complete(regular, source{content: zipOf(t, files, zip.Deflate)})
	for age, want := range map[time.Duration]int{29 * time.Minute: 0, 31 * time.Minute: 1} {
		h.storage.refreshed = 0
		c := h.config
		c.Now = func() time.Time { return time.Now().Add(age) }
		h.service = upload.NewService(c)
		h.complete(regular, source{content: zipOf(t, files, zip.Deflate)})
		if h.storage.refreshed != want {
			t.Errorf("aged %v of an hour: refreshed %d times, want %d", age, h.storage.refreshed, want)
		}
	}
}

// A regular object that a try upload finds is not made to last longer; where it will not last, the upload has one of its own.
func TestATryUploadRefreshesNoRegularObject(t *testing.T) {
	h := newHouse(t)
	files := map[string]string{"a/AA/a.sym": sym}
	h.complete(regular, source{content: zipOf(t, files, zip.Deflate)})
	for _, x := range []struct {
		age       time.Duration
		state     upload.FileState
		own       bool // the try upload's object is there
		refreshed int
	}{
		{39 * time.Minute, upload.FileSkipped, false, 0}, {41 * time.Minute, upload.FileUploaded, true, 0}, {42 * time.Minute, upload.FileSkipped, true, 1},
	} {
		h.storage.refreshed = 0
		c := h.config
		c.Now = func() time.Time { return time.Now().Add(x.age) }
		h.service = upload.NewService(c)
		u := h.complete(regular, source{content: zipOf(t, files, zip.Deflate), try: true})
		if _, own := h.stored("a/AA/a.sym", true); u.Files[0].State != x.state || own != x.own || h.storage.refreshed != x.refreshed {
			t.Errorf("after %v of an hour: %s, an object of its own: %t, refreshed %d times; want %+v", x.age, u.Files[0].State, own, h.storage.refreshed, x)
		}
		if obj, err := h.storage.Stat(t.Context(), upload.Location{Key: u.Files[0].Key}); err != nil || time.Since(obj.Modified) > 5*time.Minute || obj.Modified.After(time.Now()) {
			t.Errorf("the regular object: %+v, %v", obj, err)
		}
	}
}
