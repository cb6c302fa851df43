package web_test

import (
	"archive/zip"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestListsAreFiltered(t *testing.T) {
	s := newSite(t)
	content := zipped(t, []byte("x"), zip.Store, "xul.pdb/AA/a.bin", "xul_a.pdb/BB/b.SYM", "x-symbols.txt")
	s.post(s.token, content)
	s.post(s.token, []byte("no archive"))
	bucket, now := filepath.Base(s.objects), time.Now().UTC()
	for query, want := range map[string]float64{
		"uploads/?size=%3E0": 2, "uploads/?size=%3E1m": 0, "uploads/?size=%3E0,%3C=1g,<1MB": 2, fmt.Sprintf("uploads/?size=%d", len(content)): 1,
		"uploads/?size=%3E=20k,<10": 0, "uploads/?size=>9007199254740993": 0, "uploads/?size=%20%3D%200b%20": 0, "uploads/?size=,": 2,
		"uploads/?size=<1.5g": 2, "uploads/?size=>=.5k": 0, "uploads/?size==10.5": 0, "uploads/?size=<10.": 0, "uploads/?size=>9.5": 2, fmt.Sprintf("uploads/?size=<=%d.5", len(content)): 2,
		"uploads/?created_at=>2020-01-01": 2, "uploads/?created_at=<=2020-01-01": 0, "uploads/?created_at=" + now.Format(time.DateOnly): 2,
		"uploads/?created_at=<" + now.Add(time.Hour).Format(time.RFC3339) + ",>=yesterday": 2, "uploads/?created_at=>today": 2, "uploads/?created_at=<=TODAY": 0,
		"uploads/?created_at=%20%3D%20Today": 2, "uploads/?created_at=yesterDAY": 0, "uploads/?created_at=" + now.Format("20060102"): 2,
		"uploads/?created_at=>=" + now.Add(-time.Hour).Format("2006-01-02T15:04:05.999999"): 2, "uploads/?created_at=<" + strings.Replace(now.Add(-time.Hour).Format("2006-01-02T15:04Z"), "T", "%20", 1): 0,
		"uploads/?created_at=<0001-01-01": 0, "uploads/?created_at=<9999-12-31T23:59:59Z": 2, "uploads/?created_at=null": 0, "uploads/?created_at=,": 2,
		"uploads/?completed_at=today": 1, "uploads/?completed_at=>2020-01-01,<2021-01-01": 0, "uploads/?completed_at=Incomplete": 1, "uploads/?completed_at=%3D%20null": 1, "uploads/?completed_at=null,today": 0,
		"uploads/?outcome=rejected": 1, "uploads/?outcome=running": 0, "uploads/?type=try": 0, "uploads/?type=regular": 2,
		"uploads/?bucket_name=" + bucket: 2, "uploads/?bucket_name=%25": 0, "uploads/?bucket_name=!" + bucket: 0, "uploads/?bucket_name=x,%20" + bucket + ",!y": 2, "uploads/?sort=size&reverse=false&page=1": 2,
		"uploads/files/?key=xul.pdb": 1, "uploads/files/?key=xul*": 2, "uploads/files/?key=xul_*": 1, "uploads/files/?key=xul": 2, "uploads/files/?key=XU": 2, "uploads/files/?key=ul": 0, "uploads/files/?key=L.P": 1,
		"uploads/files/?key=xul.pdb/aa": 1, "uploads/files/?key=xul.pdb/aa/a.bin": 1, "uploads/files/?key=xul.pdb/aa/b.bin": 0, "uploads/files/?key=xul.pdb/bb": 0, "uploads/files/?key=/BB/": 1,
		"uploads/files/?key=.pdb,%20BIN": 1, "uploads/files/?key=xul,x*,bin": 1, "uploads/files/?key=,": 2, "uploads/files/?key=*": 2, "uploads/files/?key=symbols": 0,
		"uploads/files/?key=x_l": 0, "uploads/files/?key=%25ul": 0, "uploads/files/?key=gr%C3%B6%C3%9Fe": 0, "uploads/files/?key=%22xul%22": 0, "uploads/files/?key=xul%27--": 0, "uploads/files/?key=ul%20OR%20xul": 0,
		"uploads/files/?key=.sym&key=try/": 0, "uploads/files/?key=try/&key=.sym": 1, "uploads/files/?key=v1/xul.pdb": 1, "uploads/files/?key=try/v1/xul": 0, "uploads/files/?key=try/&upload_type=regular": 0,
		"uploads/files/?size=1": 1, "uploads/files/?size=>1": 1, "uploads/files/?upload_type=try": 0, "uploads/files/?upload_type=": 2, "uploads/files/?upload_type=regular": 2, "uploads/files/?type=try&key=xul*": 0,
		"uploads/files/?compressed=true": 1, "uploads/files/?compressed=on&key=.pdb": 1, "uploads/files/?compressed=False": 1, "uploads/files/?compressed=": 2, "uploads/files/?update=true": 0, "uploads/files/?update=0": 2,
		"uploads/files/?completed_at=today": 2, "uploads/files/?completed_at=<2020-01-01": 0, "uploads/files/?completed_at=incomplete": 0, "uploads/files/?bucket_name=!x": 2, "uploads/files/?bucket_name=!" + bucket: 0,
		"uploads/files/?created_at=today,>=today&key=xul*&size=<1k&bucket_name=" + bucket: 2,
		"uploads/files/?batch_size=1000": 2,
		// The last one counts, and what is not known is ignored.
		"uploads/?size=x&size=>0": 2, "uploads/?size=>0&size=": 2, "uploads/?limit=1": 2, "uploads/?%ff=1": 2, "uploads/?a=%zz": 2, "uploads/?a;b": 2, "uploads/?&&=&": 2,
		"uploads/files/?sort=nothing&reverse=1&download=x": 2, "uploads/?download=" + strings.Repeat("a", 2000): 2,
	} {
		if day := strings.ToLower(query); strings.Contains(day, "day") && time.Now().UTC().Day() != now.Day() {
			continue
		}
		if a := s.ask(s.token, "/api/"+query); a.status != 200 || a.body["total"] != want {
			t.Errorf("%s: %d, %v, want %v: %v", query, a.status, a.body["total"], want, a.body["errors"])
		}
	}
}

// A list by size or date begins with the smallest, unless it is to be reversed; one that says nothing, with the newest.
func TestListsAreSorted(t *testing.T) {
	s := newSite(t)
	for _, size := range []int{200, 300, 100} {
		s.post(s.token, zipped(t, make([]byte, size), zip.Store, "a/AA/a.bin"))
	}
	for query, want := range map[string]string{
		"": "[3 2 1] created_at true", "reverse=true": "[3 2 1] created_at true", "reverse=false": "[1 2 3] created_at false", "reverse=1": "[3 2 1] created_at true",
		"sort=size": "[3 1 2] size false", "sort=size&reverse=true": "[2 1 3] size true", "sort=size&reverse=false": "[3 1 2] size false", "sort=size&reverse=yes": "[3 1 2] size false",
		"sort=created_at": "[1 2 3] created_at false", "sort=created_at&reverse=true": "[3 2 1] created_at true",
	} {
		a := s.ask(s.token, "/api/uploads/?"+query)
		var ids []any
		uploads, _ := a.body["uploads"].([]any)
		for _, u := range uploads {
			ids = append(ids, object(u)["id"])
		}
		by := object(a.body, "order_by")
		if got := fmt.Sprint(ids, " ", by["sort"], " ", by["reverse"]); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestPagesAreFollowed(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		s.post(s.token, zipped(t, []byte{byte(i)}, zip.Store, "abc/AA/a.bin", "b/BB/b.bin", "x-symbols.txt"))
	}
	for path, want := range map[string]struct {
		field string
		rows  int
	}{
		"/api/uploads/?": {"uploads", 5}, "/api/uploads/?sort=size&": {"uploads", 5}, "/api/uploads/files/?": {"files", 10},
		"/api/uploads/files/?key=abc&": {"files", 5}, "/api/uploads/files/?key=a*&": {"files", 5}, "/api/uploads/files/?key=.bin&": {"files", 10},
	} {
		seen, page := make(map[any]bool), "1"
		var order []any
		for page != "" {
			a := s.ask(s.token, path+"batch_size=2&page="+url.QueryEscape(page))
			rows, _ := a.body[want.field].([]any)
			for _, r := range rows {
				seen[object(r)["id"]] = true
				order = append(order, object(r)["id"])
			}
			page, _ = a.body["next_page"].(string)
			if a.status != 200 || len(rows) > 2 || a.body["total"] != 1_000_000.0 || a.body["has_next"] != (page != "") || len(seen) > want.rows {
				t.Fatalf("%s: %d: %v", path, a.status, a.body)
			}
		}
		if len(seen) != want.rows {
			t.Errorf("%s: %d rows, want %d", path, len(seen), want.rows)
		}
		// By number it is the same. A number below the first is the first, one behind the last is an empty page.
		pages := (want.rows + 1) / 2
		for number, begin := range map[string]int{"-7": 0, "0": 0, "+1": 0, "%201%20": 0, "": 0, "2": 2, fmt.Sprint(pages): 2 * (pages - 1), fmt.Sprint(pages + 1): want.rows, "99999999999999999999": want.rows, "-99999999999999999999": 0} {
			a := s.ask(s.token, path+"batch_size=2&page="+number)
			rows, _ := a.body[want.field].([]any)
			var got []any
			for _, r := range rows {
				got = append(got, object(r)["id"])
			}
			end := min(begin+2, want.rows)
			total := 1_000_000.0
			if end == want.rows {
				total = float64(want.rows)
			}
			if diff := cmp.Diff(order[begin:end], got, cmpopts.EquateEmpty()); diff != "" || a.status != 200 || a.body["has_next"] != (end < want.rows) || a.body["total"] != total {
				t.Errorf("%s: page %q, has next %v, total %v (-want +got)\n%s", path, number, a.body["has_next"], a.body["total"], diff)
			}
		}
	}
}

// What is wrong with a request is a 400 that names the parameter, never a fault of ours.
func TestHostileQueries(t *testing.T) {
	s := newSite(t)
	huge := strings.Repeat("9", 400)
	for path, names := range map[string]string{
		"uploads/?size=x": "size", "uploads/?size=-1": "size", "uploads/?size=" + huge: "size", "uploads/?size=9223372036854775807": "size", "uploads/?size=>9223372036854775807g": "size",
		"uploads/?size=1kg": "size", "uploads/?size=%3E%3E1": "size", "uploads/?size=<=>1": "size", "uploads/?size=1.2.3": "size", "uploads/?size=.": "size", "uploads/?size=.g": "size",
		"uploads/?size=" + huge + ".5": "size", "uploads/?size=NaN": "size", "uploads/?size=1e3": "size", "uploads/?size=>=%20xxx": "size", "uploads/?size=mozilla.com": "size", "uploads/?size=1,x": "size",
		"uploads/?size=<": "size", "uploads/?size=1'%20OR%201=1": "size", "uploads/?size=%D9%A1": "size", "uploads/?size=%zz": "size", "uploads/?size=1&size=2x": "size",
		"uploads/?size=" + strings.Repeat("1,", 20): "size",
		"uploads/?created_at=now":                   "created_at", "uploads/?created_at=2026-13-01": "created_at", "uploads/?created_at=1700000000": "created_at", "uploads/?created_at=%252017-01-23": "created_at",
		"uploads/?created_at=99999-01-01": "created_at", "uploads/?completed_at=soon": "completed_at", "uploads/?completed_at=null,x": "completed_at", "uploads/files/?completed_at=x": "completed_at",
		"uploads/?batch_size=0": "batch_size", "uploads/?batch_size=1001": "batch_size", "uploads/?batch_size=-1": "batch_size", "uploads/?batch_size=" + huge: "batch_size",
		"uploads/?page=notanumber": "page", "uploads/?page=%00": "page", "uploads/?page=Yy4x": "page", "uploads/?page=?": "page", "uploads/?page=1.5": "page", "uploads/files/?page=x": "page", "uploads/files/?page=x&key=xul": "page",
		"uploads/?type=maybe": "type", "uploads/files/?upload_type=maybe": "upload_type", "uploads/?outcome=good": "outcome", "uploads/?sort=user": "sort",
		"uploads/?user=%ff": "user", "uploads/?user=a%00b": "user", "uploads/?bucket_name=%C3%28": "bucket_name", "uploads/?user=" + strings.Repeat("a", 2000): "user",
		"uploads/files/?key=" + strings.Repeat("a", 1025): "key", "uploads/files/?key=" + strings.Repeat("a,", 20): "key", "uploads/?bucket_name=" + strings.Repeat("!a,", 20): "bucket_name",
		"uploads/?size=x&created_at=y&sort=z": "created_at size sort",
	} {
		a := s.ask(s.token, "/api/"+path)
		faults, _ := a.body["errors"].(map[string]any)
		if got := strings.Join(slices.Sorted(maps.Keys(faults)), " "); a.status != 400 || got != names || len(a.body) != 1 {
			t.Errorf("%.80s: %d, %v", path, a.status, a.body)
		}
		for name, v := range faults {
			sentences, _ := v.([]any)
			if text := fmt.Sprint(sentences...); len(sentences) != 1 || !strings.HasPrefix(text, name) || !strings.HasSuffix(text, ".") || len(text) > 400 {
				t.Errorf("%.80s: %s: %v", path, name, v)
			}
		}
	}
	for _, id := range []string{"0", "-1", "+1", "x", "1.0", huge, "18446744073709551616", "9223372036854775807", "1%27", "%00", "%ff", "1/"} {
		for _, path := range []string{"/api/uploads/upload/", "/api/uploads/files/file/"} {
			if a := s.ask(s.token, path+id); a.status != 404 || a.text() != "Not Found" {
				t.Errorf("%s%.20s: %d, %q", path, id, a.status, a.text())
			}
		}
	}
	if faults := s.watcher.faults; len(faults) != 0 {
		t.Errorf("faults: %v", faults)
	}
}
