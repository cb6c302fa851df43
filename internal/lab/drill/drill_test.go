package drill

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

var (
	svg  = flag.String("svg", "", "draw the plot into this `file`, too")
	keep = flag.Bool("keep", false, "keep the directory with logs, symbols and records")
)

const (
	// playLimit bounds the play, from when both programs run, patience every wait in it. Both are reached only when something is wrong.
	playLimit, patience = 60 * time.Second, 15 * time.Second
	// sampleInterval is how often the disk is looked at, and answerLimit how long a heartbeat is waited for.
	sampleInterval, answerLimit = 100 * time.Millisecond, 500 * time.Millisecond
	// breath is what a reader gets between two steps, and the plot to show them apart.
	breath = time.Second

	archiveCount, archiveBytes, archiveMembers = 3, 38_000_000, 24
	// slowly, quickly and atOnce are how long a client takes for its body.
	slowly, quickly, atOnce = 8600 * time.Millisecond, 1500 * time.Millisecond, 0

	mib = 1 << 20
	// diskSize is that of the file system that is mounted, and budget what uploads get where none can be.
	diskSize, budget = 256 * mib, 200 * mib
	// headroom is what is left to others on a file system of our own. The disk manager goes by it in any case.
	headroom = 16 * mib
	// remains is what may be used on a file system of our own when no upload is on it: directories and manifests. On
	// a disk shared with others it is othersNoise.
	remains, othersNoise = 1 * mib, 30 * mib

	// What both programs are told, so that minutes become seconds.
	orphanAge, sweepInterval  = 4 * time.Second, time.Second
	fullWindow, fullThreshold = 8 * time.Second, 3
)

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

// A drill is both incidents being played.
type drill struct {
	*testing.B
	ctx context.Context // ends when the play has taken too long

	site     *lab.Site
	server   atomic.Pointer[lab.Instance] // the one that runs, or ran last
	token    string
	archives []*lab.Archive

	disk     *lab.Disk
	before   int64 // bytes used by others, before the play
	headroom int64 // bytes, for the server
	noise    int64 // bytes by which what is used may be off

	began time.Time
	recording
	held, broken int // expectations
}

// BenchmarkDrill plays both incidents, and shows the plot.
func BenchmarkDrill(b *testing.B) {
	d := &drill{B: b}
	d.prepare()
	ctx, cancel := context.WithTimeoutCause(b.Context(), playLimit, fmt.Errorf("the drill took more than %v", playLimit))
	defer cancel()
	d.ctx, d.began = ctx, time.Now()
	stop := lab.Sample(ctx, sampleInterval, d.look)
	b.Cleanup(func() { // also where the play could not go on
		d.Samples, _ = stop()
		d.print("\n%s\n", d.text())
		if *svg != "" {
			if err := os.WriteFile(*svg, []byte(d.svg()), 0o644); err != nil {
				b.Error(err)
			}
		}
		if d.print("%d of %d expectations held\n", d.held, d.held+d.broken); *keep {
			d.print("kept: %s\n", d.site.Dir)
		}
	})
	d.print("\nA1: the server is killed in the middle of uploads\n")
	d.killed()
	d.print("\nA2: the disk fills up with something else\n")
	d.full()
}

// prepare makes what the play needs, and starts both programs.
func (d *drill) prepare() {
	d.print("making archives of symbols\n")
	var stored int64
	for i := range uint64(archiveCount) {
		a, err := lab.NewArchive(testarchive.Spec{Seed: i + 1, Bytes: archiveBytes, Members: archiveMembers})
		d.must(err)
		d.archives = append(d.archives, a)
		stored += a.Size
	}
	dir := d.TempDir()
	if *keep {
		var err error
		dir, err = os.MkdirTemp("", "kept-")
		d.must(err)
	}
	d.makeDisk(filepath.Join(dir, "disk"), stored)
	d.site = lab.Open(d, lab.Config{Dir: dir, Settings: map[string]string{
		"TECKEN_SPOOL_DIR": filepath.Join(d.disk.Dir, "spool"), "TECKEN_SPOOL_HEADROOM": fmt.Sprintf("%dMiB", d.headroom/mib),
		"TECKEN_ORPHAN_AGE": orphanAge.String(), "TECKEN_SWEEP_INTERVAL": sweepInterval.String(),
		"TECKEN_DISK_FULL_WINDOW": fullWindow.String(), "TECKEN_DISK_FULL_THRESHOLD": fmt.Sprint(fullThreshold), "TECKEN_ADMISSION_WAIT": "200ms",
	}})
	d.token = d.site.Token("drill@example.com")
	d.server.Store(d.site.ServeHealthy())
	d.site.Settings["TECKEN_SPOOL_HEADROOM"] = fmt.Sprintf("%dMiB", headroom/mib)
	d.site.Start("disk-manager")
	d.site.Settings["TECKEN_SPOOL_HEADROOM"] = fmt.Sprintf("%dMiB", d.headroom/mib)
}

// makeDisk makes the disk of the spool: a small file system, or a part of a large one. What is stored, in bytes, counts against the latter only.
func (d *drill) makeDisk(dir string, stored int64) {
	d.disk = lab.NewDisk(d, dir, diskSize)
	if d.disk.Plain == nil {
		d.Capacity, d.headroom, d.noise = diskSize, headroom, remains
		d.Title = "bytes used on the spool's file system"
		d.print("the spool is on a tmpfs of %d MiB, %d MiB of it headroom\n", diskSize/mib, headroom/mib)
		return
	}
	used, free, err := d.disk.Used()
	d.must(err)
	d.before, d.Capacity, d.noise = used, budget+stored, othersNoise
	d.headroom = free - d.Capacity
	if d.headroom < headroom {
		d.Fatalf("%s has %d MiB free, %d are needed", dir, free/mib, (d.Capacity+headroom)/mib)
	}
	d.Title = "bytes used on the spool's disk since the start"
	d.print("no file system can be mounted (%v): the spool is a plain directory,\n"+
		"all but %d MiB of whose disk are headroom, %d of them for the symbols that are stored\n", d.disk.Plain, d.Capacity/mib, stored/mib)
}

// used returns how many bytes the play uses; 0 where they can't be counted.
func (d *drill) used() int64 {
	used, _, err := d.disk.Used()
	if err != nil {
		return 0
	}
	return max(used-d.before, 0)
}

// workspaces names what is in the spool, but for what is being made.
func (d *drill) workspaces() (names []string) {
	entries, _ := os.ReadDir(d.site.SpoolDir()) // before the server has made it, nothing is in it
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// look is one sample of what is plotted.
func (d *drill) look(ctx context.Context) (sample, error) {
	s := sample{At: time.Since(d.began), Used: d.used(), Workspaces: len(d.workspaces())}
	s.Balancer, s.Health = d.colour(ctx, "/__lbheartbeat__"), d.colour(ctx, "/__heartbeat__")
	return s, nil
}

// colour asks for the colour of one of the heartbeats.
func (d *drill) colour(ctx context.Context, path string) colour {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	switch status, _ := d.server.Load().Heartbeat(ctx, path); status {
	case 0:
		return none
	case http.StatusOK:
		return green
	default:
		return red
	}
}

// post sends an archive as a build machine does.
func (d *drill) post(a *lab.Archive, take time.Duration) lab.Answer {
	return d.server.Load().Post(d.ctx, lab.Upload{Token: d.token, Archive: a, Send: take})
}

func (d *drill) print(format string, args ...any) { fmt.Fprintf(os.Stdout, format, args...) }

// say tells one step.
func (d *drill) say(format string, args ...any) {
	d.print("%6.1f s     %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// mark tells one step that the plot shows, too, by a letter.
func (d *drill) mark(format string, args ...any) {
	e := event{At: time.Since(d.began), Text: fmt.Sprintf(format, args...)}
	d.print("%6.1f s  %c  %s\n", e.At.Seconds(), letter(len(d.Events)), e.Text)
	d.Events = append(d.Events, e)
}

// expect tells what should be so, and whether it is.
func (d *drill) expect(holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if holds {
		d.held++
		d.say("   ok: %s", text)
		return
	}
	d.broken++
	d.say("   FAILED: %s", text)
	d.Error(text)
}

// must ends the drill where there is an error: it can't go on.
func (d *drill) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// wait lets some time pass.
func (d *drill) wait(pause time.Duration) {
	lab.Pause(d.ctx, pause)
	d.must(context.Cause(d.ctx))
}

// until waits for a condition, up to a limit, and reports whether it holds.
func (d *drill) until(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); !holds(); d.wait(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
