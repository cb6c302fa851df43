package s3store

import (
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
)

func TestPresignedAddresses(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, Options{})
	l := NewLinker(s, "", time.Minute)
	for _, key := range []string{"a.pdb/AB/a.sym", "lib stdc++ (1).so/AB/a~!$&()*+,-.:;=?@_.pdb"} {
		loc := storagetest.Location(t, key)
		c := storagetest.Random(1, 1000)
		c.Put(t, s, loc)
		address, secret, err := l.URL(t.Context(), loc)
		if err != nil || !secret {
			t.Fatalf("%s: secret %t, %v", key, secret, err)
		}
		u, err := url.Parse(address)
		if err != nil || u.Query().Get("X-Amz-Expires") != "60" {
			t.Errorf("%s: %v", address, err)
		}
		for want, address := range map[int]string{http.StatusOK: address, http.StatusForbidden: address + "0"} {
			resp, err := http.Get(address)
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

func TestPublicAddresses(t *testing.T) {
	server := testenv.S3(t)
	s := open(t, server, server.Endpoint, Options{})
	loc := storagetest.Location(t, "lib stdc++.so/AB/a~&.sym")
	loc.Try = true
	for _, base := range []string{"https://cdn.example.com/x", "https://cdn.example.com/x/"} {
		address, secret, err := NewLinker(s, base, time.Minute).URL(t.Context(), loc)
		if want := "https://cdn.example.com/x/try/v1/lib%20stdc%2B%2B.so/AB/a~%26.sym"; address != want || secret || err != nil {
			t.Errorf("%s: %s, secret %t, %v; want %s", base, address, secret, err, want)
		}
	}
}
