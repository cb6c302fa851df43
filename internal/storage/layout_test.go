package storage_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

func TestObjectKey(t *testing.T) {
	loc := storagetest.Location(t, "a b.pdb/0af/A.sym")
	if got, want := storage.ObjectKey(loc), "v1/a b.pdb/0AF/A.sym"; got != want {
		t.Errorf("object key %q; want %q", got, want)
	}
	loc.Try = true
	if got, want := storage.ObjectKey(loc), "try/v1/a b.pdb/0AF/A.sym"; got != want {
		t.Errorf("object key %q; want %q", got, want)
	}
}

func TestBrokenKey(t *testing.T) {
	loc := storagetest.Location(t, "a b.pdb/0af/A.sym")
	loc.Try = true
	if got, want := storage.BrokenKey(loc), "broken/try/v1/a b.pdb/0AF/A.sym"; got != want {
		t.Errorf("object key %q; want %q", got, want)
	}
}

func TestParseObjectKey(t *testing.T) {
	for _, key := range []string{"v1/a b.pdb/0AF/A.sym", "try/v1/a b.pdb/0AF/A.sym", "v1/a.pdb/0af/a.sym", "try/v1/a.pdb/0aF/a.sym", "v1/try/1/v1"} {
		loc, ok := storage.ParseObjectKey(key)
		if got := storage.ObjectKey(loc); !ok || got != key {
			t.Errorf("%s: %v, of %s", key, ok, got)
		}
	}
	for _, key := range []string{
		"", "v1/", "a.pdb/0AF/a.sym", "v1/a.pdb/0AF", "v1/a.pdb/0AF/a.sym/", "v1/a.pdb/0AF/a/a.sym", "/v1/a.pdb/0AF/a.sym", "v1//0AF/a.sym",
		"v1/a.pdb/xyz/a.sym", "v1/.a/0AF/a.sym", "v1/a.pdb/0AF/.a.sym.meta", "v1/a#b/0AF/a.sym", "v2/a.pdb/0AF/a.sym", "try/a.pdb/0AF/a.sym",
		"broken/v1/a.pdb/0AF/a.sym", "try/v1/v1/a.pdb/0AF/a.sym",
	} {
		if loc, ok := storage.ParseObjectKey(key); ok {
			t.Errorf("%s is %+v", key, loc)
		}
	}
}

func TestContentType(t *testing.T) {
	for key, want := range map[string]string{
		"a.pdb/1/a.sym":     "text/plain",
		"a.pdb/1/a.SYM":     "text/plain",
		"a.pdb/1/a.pdb":     "application/octet-stream",
		"a.so/1/a.dbg.gz":   "application/octet-stream",
		"a.sym/1/a.sym.zip": "application/octet-stream",
	} {
		if got := storage.ContentType(storagetest.Location(t, key).Key); got != want {
			t.Errorf("content type of %s is %q; want %q", key, got, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	obj := upload.Object{Size: 1 << 40, MD5: upload.MD5{0xab, 15: 0x01}}
	meta := storage.Metadata(obj)
	want := map[string]string{
		"original_size":     "1099511627776",
		"original_md5_hash": "ab000000000000000000000000000001",
	}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Errorf("metadata differ (-want +got):\n%s", diff)
	}
	if size, sum := storage.ParseMetadata(meta); size != obj.Size || sum != obj.MD5 {
		t.Errorf("parsed are %d, %x", size, sum)
	}
	capitals := map[string]string{"Original_Size": "7", "ORIGINAL_MD5_HASH": strings.ToUpper(meta["original_md5_hash"]), "other": "x"}
	if size, sum := storage.ParseMetadata(capitals); size != 7 || sum != obj.MD5 {
		t.Errorf("parsed are %d, %x", size, sum)
	}
}

func TestMetadataOfUnknownContent(t *testing.T) {
	good := storage.Metadata(upload.Object{Size: 1})
	for name, change := range map[string]func(map[string]string){
		"none":          func(m map[string]string) { clear(m) },
		"no size":       func(m map[string]string) { delete(m, "original_size") },
		"no MD5":        func(m map[string]string) { delete(m, "original_md5_hash") },
		"negative size": func(m map[string]string) { m["original_size"] = "-2" },
		"no number":     func(m map[string]string) { m["original_size"] = "1 KiB" },
		"overflow":      func(m map[string]string) { m["original_size"] = "9223372036854775808" },
		"short MD5":     func(m map[string]string) { m["original_md5_hash"] = "ab" },
		"no hex":        func(m map[string]string) { m["original_md5_hash"] = strings.Repeat("x", 32) },
	} {
		meta := maps.Clone(good)
		change(meta)
		if size, sum := storage.ParseMetadata(meta); size != -1 || sum != (upload.MD5{}) {
			t.Errorf("%s: parsed are %d, %x; want -1 and the zero MD5", name, size, sum)
		}
	}
}

func TestParseURL(t *testing.T) {
	for value, want := range map[string]storage.Config{
		"file:data/symbols":                     {Dir: "data/symbols"},
		"file:/srv/with space%20/symbols?":      {Dir: "/srv/with space%20/symbols?"},
		"file:.":                                {Dir: "."},
		"s3://symbols":                          {Bucket: "symbols"},
		"s3://symbols/?region=eu-central-1":     {Bucket: "symbols", Region: "eu-central-1"},
		"s3://a.b-c/?path_style=true":           {Bucket: "a.b-c", PathStyle: true},
		"s3://symbols?endpoint=http://h:1/path": {Bucket: "symbols", Endpoint: "http://h:1/path"},
		"s3://symbols/v1":                       {Bucket: "symbols", Prefix: "v1/"},
		"s3://symbols/a%20b/größe/?region=r":    {Bucket: "symbols", Prefix: "a b/größe/", Region: "r"},
		"s3://symbols?checksum=crc32":           {Bucket: "symbols", Checksum: storage.CRC32},
		"s3://symbols/p?checksum=md5":           {Bucket: "symbols", Prefix: "p/", Checksum: storage.MD5},
		"s3://symbols/?checksum=none":           {Bucket: "symbols", Checksum: storage.NoChecksum},
		"s3://symbols?region=r&endpoint=https%3A%2F%2Fminio%3A9000&path_style=false": {
			Bucket: "symbols", Region: "r", Endpoint: "https://minio:9000"},
	} {
		got, err := storage.ParseURL(value)
		if err != nil {
			t.Errorf("parse %s: %v", value, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", value, diff)
		}
	}
}

func TestParseURLFaults(t *testing.T) {
	for value, want := range map[string][]string{
		"":                       {"file:PATH or s3://"},
		"data/symbols":           {"file:PATH or s3://"},
		"gs://symbols":           {"file:PATH or s3://"},
		"S3://symbols":           {"file:PATH or s3://"},
		"file:":                  {"plain path"},
		"file://host/symbols":    {"plain path"},
		"file:///symbols":        {"plain path"},
		"s3://":                  {`"" is not a bucket`},
		"s3://Symbols":           {`"Symbols" is not a bucket`},
		"s3://ab":                {"not a bucket"},
		"s3://symbols:80":        {"not a bucket"},
		"s3://symbols//v1":       {"the prefix must be"},
		"s3://symbols/a//b":      {"the prefix must be"},
		"s3://symbols/a//":       {"the prefix must be"},
		"s3://symbols//":         {"the prefix must be"},
		"s3://symbols/./a":       {"the prefix must be"},
		"s3://symbols/a/..":      {"the prefix must be"},
		"s3://symbols/a%00":      {"the prefix must be"},
		"s3://symbols/a%FF":      {"the prefix must be"},
		"s3://symbols/a%5Cb":     {"the prefix must be"},
		"s3://symbols/SECRET%01": {"the prefix must be"},
		"s3://symbols/" + strings.Repeat("x", 401): {"the prefix must be", "400 bytes"},
		"s3://symbols#x":                                      {"the prefix must be"},
		"s3://symbols?checksum=SECRET":                        {"crc32, md5 or none"},
		"s3://symbols?checksum=":                              {"crc32, md5 or none"},
		"s3://key:SECRET@symbols":                             {"credentials"},
		"s3://sym bols:SECRET":                                {"not a valid URL"},
		"s3://symbols?secret=SECRET":                          {`unknown parameter "secret"`},
		"s3://symbols?region=a&region=b":                      {`"region" is given 2 times`},
		"s3://symbols?region=":                                {"region is empty"},
		"s3://symbols?path_style=SECRET":                      {"true or false"},
		"s3://symbols?path_style":                             {"true or false"},
		"s3://symbols?endpoint=minio:9000":                    {"endpoint must be"},
		"s3://symbols?endpoint=ftp://minio":                   {"endpoint must be"},
		"s3://symbols?endpoint=http://a:SECRET@minio":         {"endpoint must be"},
		"s3://symbols?endpoint=%zz":                           {"not validly escaped"},
		"s3://Symbols/x?region=&color=red&endpoint=file:path": {"bucket", "region", `"color"`, "endpoint"},
	} {
		_, err := storage.ParseURL(value)
		if err == nil {
			t.Errorf("parse %s: no error; want %q", value, want)
			continue
		}
		if missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains(err.Error(), w) }); len(missing) > 0 {
			t.Errorf("parse %s: %v; want %q", value, err, missing)
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("parse %s: the error tells what may be secret: %v", value, err)
		}
	}
}
