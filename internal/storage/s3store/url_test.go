package s3store

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
)

// Presigned addresses lead to the object, with the bucket's name in host or path, and below a prefix.
func TestPresignedAddresses(t *testing.T) {
	server := testenv.S3(t)
	for change, start := range map[string]string{
		"":                        server.Endpoint + "/symbols/v1/",
		"/a b":                    server.Endpoint + "/symbols/a%20b/v1/",
		"?path_style=false":       "http://symbols." + server.Domain + strings.TrimPrefix(server.Addr, "127.0.0.1") + "/v1/",
		"/a%20b?path_style=false": "http://symbols." + server.Domain + strings.TrimPrefix(server.Addr, "127.0.0.1") + "/a%20b/v1/",
	} {
		s := openAs(t, server, server.Endpoint, change, Options{})
		l := NewLinker(s, "", time.Minute)
		for _, key := range []string{"a.pdb/AB/a.sym", "lib stdc++ (1).so/AB/a~!$&()*+,-.:;=?@_.pdb", "größe.pdb/AB/微信.sym"} {
			loc := storagetest.Location(t, key)
			c := storagetest.Random(1, 1000)
			c.Put(t, s, loc)
			address, secret, err := l.URL(t.Context(), loc)
			if err != nil || !secret || !strings.HasPrefix(address, start) {
				t.Fatalf("%s: %s, secret %t, %v", key, address, secret, err)
			}
			u, err := url.Parse(address)
			if err != nil || u.Query().Get("X-Amz-Expires") != "60" {
				t.Errorf("%s: %v", address, err)
			}
			for want, address := range map[int]string{http.StatusOK: address, http.StatusForbidden: address + "0"} {
				resp, err := (&http.Client{Transport: s.transport}).Get(address)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != want || want == http.StatusOK && string(data) != string(c.Data) {
					t.Errorf("%s: status %d, %d bytes, %v; want %d", address, resp.StatusCode, len(data), err, want)
				}
			}
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	server := testenv.S3Server{Bucket: "symbols", Region: "us-east-1"}
	loc := storagetest.Location(t, "lib stdc++.so/AB/a~&.sym")
	loc.Try = true
	for change, path := range map[string]string{"": "", "/a b/größe": "a%20b/gr%C3%B6%C3%9Fe/"} {
		s := openAs(t, server, "http://127.0.0.1:1", change, Options{})
		for _, base := range []string{"https://cdn.example.com/x", "https://cdn.example.com/x/"} {
			address, secret, err := NewLinker(s, base, time.Minute).URL(t.Context(), loc)
			if want := "https://cdn.example.com/x/" + path + "try/v1/lib%20stdc%2B%2B.so/AB/a~%26.sym"; address != want || secret || err != nil {
				t.Errorf("%s: %s, secret %t, %v; want %s", base, address, secret, err, want)
			}
		}
	}
}
