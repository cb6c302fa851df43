package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	boundary = "----------------------------benchmark"
	opening  = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"symbols.zip\"; filename=\"symbols.zip\"\r\n" +
		"Content-Type: application/octet-stream\r\n\r\n"
	closing = "\r\n--" + boundary + "--\r\n"
	// answerLimit bounds what is read of an answer.
	answerLimit = 1 << 20
)

// upload posts an archive, as build machines do, and returns how long that took. Anything but a 201 is an error.
func (s *site) upload(ctx context.Context, a *sample) (time.Duration, error) {
	f, err := os.Open(a.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	body := io.MultiReader(strings.NewReader(opening), f, strings.NewReader(closing))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address+"/upload/", body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = bodySize(a)
	req.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	req.Header.Set("Auth-Token", s.token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("upload: %w\n%s", err, s.server.output.tail())
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("upload: %s: %s\n%s", resp.Status, answer, s.server.output.tail())
	}
	return time.Since(begin), nil
}

func bodySize(a *sample) int64 { return int64(len(opening)) + a.manifest.Bytes + int64(len(closing)) }

// A cut says where an upload ends before its time.
type cut struct {
	sent  int64         // bytes of the body
	after time.Duration // until the connection goes
	reset bool          // it goes with a reset, instead of a close
}

// uploadCut posts an archive as far as the cut.
func (s *site) uploadCut(ctx context.Context, a *sample, c cut) (err error) {
	f, err := os.Open(a.file)
	if err != nil {
		return err
	}
	defer f.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	defer func() {
		if c.reset {
			err = errors.Join(err, conn.(*net.TCPConn).SetLinger(0))
		}
		err = errors.Join(err, conn.Close())
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: %s\r\nAuth-Token: %s\r\n"+
		"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n", s.address, s.token, boundary, bodySize(a))
	if err != nil {
		return err
	}
	body := io.MultiReader(strings.NewReader(opening), f, strings.NewReader(closing))
	if _, err := io.CopyN(conn, body, c.sent); err != nil {
		return err
	}
	select {
	case <-time.After(c.after):
	case <-ctx.Done():
	}
	return nil
}
