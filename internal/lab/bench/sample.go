package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zip"

	"tecken-upload/internal/testarchive"
)

// A sample is an archive on disk, with what is in it.
type sample struct {
	file     string
	manifest testarchive.Manifest
}

// sample makes the archive that spec describes, or returns what was made before.
func (l *lab) sample(ctx context.Context, spec testarchive.Spec) (*sample, error) {
	store := ""
	if spec.Store {
		store = "-stored"
	}
	name := fmt.Sprintf("%d-%s-%d%s.%s", spec.Seed, spec.Mix, spec.Bytes, store, spec.Format)
	file := filepath.Join(l.archives, name)
	s := &sample{file: file}
	if text, err := os.ReadFile(file + ".json"); err == nil {
		return s, json.Unmarshal(text, &s.manifest)
	}
	l.say("making %s", name)
	var err error
	if s.manifest, err = writeSample(ctx, file, spec); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, errors.Join(err, os.RemoveAll(file)))
	}
	text, err := json.Marshal(s.manifest)
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(file+".json", text, 0o600)
}

func writeSample(ctx context.Context, file string, spec testarchive.Spec) (m testarchive.Manifest, err error) {
	f, err := os.Create(file)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(interruptible{ctx, f}, 1<<20)
	if m, err = testarchive.Write(buffered, spec); err != nil {
		return m, err
	}
	return m, buffered.Flush()
}

// interruptible is a writer that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.w.Write(p)
}

// variant writes the n-th variant of a zip to file: the same content under names of its own.
func (s *sample) variant(ctx context.Context, n int, file string) (_ *sample, err error) {
	in, err := zip.OpenReader(s.file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(interruptible{ctx, f}, 1<<20)
	out := zip.NewWriter(buffered)
	for _, member := range in.File {
		header := member.FileHeader
		header.Name = rename(header.Name, n)
		w, err := out.CreateRaw(&header)
		if err != nil {
			return nil, err
		}
		raw, err := member.OpenRaw()
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, raw); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(out.Close(), buffered.Flush()); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	v := &sample{file: file, manifest: s.manifest}
	v.manifest.Bytes = info.Size()
	v.manifest.Members = append([]testarchive.Member(nil), s.manifest.Members...)
	for i := range v.manifest.Members {
		m := &v.manifest.Members[i]
		m.Name = rename(m.Name, n)
	}
	return v, nil
}

// rename gives a member another id, as long as it was.
func rename(name string, n int) string {
	module, rest, ok := strings.Cut(name, "/")
	id, file, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return name
	}
	return module + "/" + fmt.Sprintf("%04X", n+1) + id[4:] + "/" + file
}
