package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// figures are what a server has in use. Its two pools are bounded, and kept filled for the next upload.
type figures struct {
	goroutines, descriptors int
	held                    int64 // bytes of the spool, by the server's own account
	disk                    int64 // bytes of the spool's file system, beyond its idle level
	names                   int   // files and directories in the spool
	storage                 int   // of the descriptors: connections to storage
	records                 int   // of the descriptors: files of the database
}

// goroutinesPerConn is how many goroutines of net/http a connection to storage has.
const goroutinesPerConn = 2

// String implements fmt.Stringer.
func (f figures) String() string {
	return fmt.Sprintf("%d goroutines (%d of them for the pool of connections to storage), "+
		"%d descriptors (%d for that pool, %d for the database's), %d bytes of spool (file system: %+d), %d names in it",
		f.goroutines, goroutinesPerConn*f.storage, f.descriptors, f.storage, f.records, f.held, f.disk, f.names)
}

// within reports whether f is no more than g, apart from what is in the pools.
func (f figures) within(g figures) bool {
	f, g = f.withoutPools(), g.withoutPools()
	return f.goroutines <= g.goroutines && f.descriptors <= g.descriptors &&
		f.held <= g.held && f.disk <= g.disk && f.names <= g.names
}

func (f figures) withoutPools() figures {
	f.goroutines -= goroutinesPerConn * f.storage
	f.descriptors -= f.storage + f.records
	f.storage, f.records = 0, 0
	return f
}

// inUse asks the server, the kernel and the file system.
func (s *site) inUse(ctx context.Context, v *volume) (f figures, err error) {
	text, err := get(ctx, "http://"+s.metrics+"/metrics")
	if err != nil {
		return f, fmt.Errorf("ask for the metrics: %w", err)
	}
	goroutines, err1 := metric(text, "go_goroutines")
	descriptors, err2 := metric(text, "process_open_fds")
	held, err3 := metric(text, "tecken_spool_held_bytes")
	f.goroutines, f.descriptors, f.held = int(goroutines), int(descriptors), int64(held)
	var err4, err5, err6 error
	f.disk, err4 = v.used()
	f.storage, err5 = s.connections()
	f.records, err6 = s.recordFiles()
	entries, err7 := os.ReadDir(s.spool)
	f.names = len(entries)
	return f, errors.Join(err1, err2, err3, err4, err5, err6, err7)
}

// metric finds a value without labels.
func metric(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// connections counts the established connections to the gateway. Only the server has some while it is asked.
func (s *site) connections() (int, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(s.endpoint[strings.LastIndexByte(s.endpoint, ':')+1:], 10, 16)
	if err != nil {
		return 0, err
	}
	const remote, state, established = 2, 3, "01"
	n := 0
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) > state && fields[state] == established && strings.HasSuffix(fields[remote], fmt.Sprintf(":%04X", port)) {
			n++
		}
	}
	return n, nil
}

// recordFiles counts the server's descriptors of its database's files.
func (s *site) recordFiles() (int, error) {
	links, err := filepath.Glob(s.server.proc("fd/*"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, link := range links {
		// One that was closed in between is none.
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, s.records()) {
			n++
		}
	}
	return n, nil
}
