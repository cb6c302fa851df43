package spool

import (
	"context"
	"fmt"
	"io"
)

// Scratch is an unnamed temporary file of a workspace. It is written from its start to its end, and then read: the first Seek or ReadAt
// ends the writing and gives back unused room. It belongs to one goroutine, except ReadAt.
type Scratch struct {
	ctx       context.Context // for Write, which has no parameter for it
	file      *file
	workspace *Workspace
	done      bool // written
}

// Scratch makes a temporary file with room reserved ahead of its writes: 256 KiB at first, then as much again as there is, at most 16 MiB.
// Each step may wait for room, until ctx ends. Errors wrap ErrFull as those of Create.
func (w *Workspace) Scratch(ctx context.Context) (*Scratch, error) {
	f, err := w.newFile(ctx, bufferSize, bufferSize)
	if err != nil {
		return nil, fmt.Errorf("reserve scratch: %w", err)
	}
	if err := w.adopt(ctx, f); err != nil {
		return nil, fmt.Errorf("make scratch: %w", err)
	}
	return &Scratch{ctx: ctx, file: f, workspace: w}, nil
}

// Write appends p. An error wraps ErrFull if there is no room, or is the context's cause.
func (s *Scratch) Write(p []byte) (int, error) {
	if s.done {
		return 0, fmt.Errorf("write scratch: %w", errWritten)
	}
	before := s.file.size
	err := s.file.append(s.ctx, p)
	if err != nil {
		err = fmt.Errorf("write scratch: %w", err)
	}
	return int(s.file.size - before), err
}

// Size returns the number of bytes written.
func (s *Scratch) Size() int64 { return s.file.size }

// Seek ends the writing and sets the position of Read, as io.Seeker.
func (s *Scratch) Seek(offset int64, whence int) (int64, error) {
	if err := s.finish(); err != nil {
		return 0, err
	}
	return s.file.Seek(offset, whence)
}

// Read reads from Seek's position on.
func (s *Scratch) Read(p []byte) (int, error) {
	if err := s.finish(); err != nil {
		return 0, err
	}
	return s.file.Read(p)
}

// ReadAt implements io.ReaderAt, once the writing has ended with a Seek.
func (s *Scratch) ReadAt(p []byte, off int64) (int, error) {
	return s.file.ReadAt(p, off)
}

func (s *Scratch) finish() error {
	if s.done {
		return nil
	}
	s.done = true
	return s.file.trim()
}

// Close gives the room back at once. It may be called more than once; Workspace.Close closes open files.
func (s *Scratch) Close() error {
	return s.workspace.drop(s.file)
}

var _ interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.Closer
} = (*Scratch)(nil)
