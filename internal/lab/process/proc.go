package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ, the same on every Linux.
const tick = 10 * time.Millisecond

func (p *Process) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.PID()), name)
}

// CPU returns the user and system time that the program has used: to 20 ms while it runs, exactly once it has ended.
func (p *Process) CPU() (time.Duration, error) {
	if p.Ended() {
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
	}
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name, in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("%s has too few fields", p.proc("stat"))
	}
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// Memory returns a line of /proc/PID/status that counts kB, in bytes: VmRSS is what is resident, VmHWM the most that was, RssAnon what was
// allocated of it.
func (p *Process) Memory(name string) (int64, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", p.proc("status"), name)
}

// Files counts the program's descriptors of files with that beginning of their paths.
func (p *Process) Files(prefix string) (n int, err error) {
	links, err := filepath.Glob(p.proc("fd/*"))
	for _, link := range links {
		// One that was closed in between is none.
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, prefix) {
			n++
		}
	}
	return n, err
}
