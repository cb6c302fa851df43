package bench

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

const (
	// spoolTarget is how many bytes of its spool's file system a zip may take at most, over its own.
	spoolTarget = 1.02
	// cpuTarget is the most CPU time that the server may take, over that of the reference.
	cpuTarget = 1.6
	// memory8Target and memory1Target are bytes of resident memory.
	memory8Target, memory1Target = 200 << 20, 120 << 20
	// together is how many uploads the row memory8 makes at once.
	together = 8
	// volumeSlack is what a volume has besides a multiple of an archive: the headroom, and what a file system keeps for itself.
	volumeSlack = 2 << 30
	// volumeInterval is how often the spool's file system is asked how full it is.
	volumeInterval = 2 * time.Millisecond
)

// A volume is the disk of a spool, and what was used of it at first.
type volume struct {
	*lab.Disk
	idle int64
}

// openVolume opens a site with its spool on a disk of its own, where one can be had.
func (b *bench) openVolume() (*site, *volume) {
	b.Helper()
	v := &volume{Disk: lab.NewImage(b, filepath.Join(b.TempDir(), "volume"), 8*b.size+volumeSlack)}
	if v.Plain != nil {
		b.say("no file system for the spool alone (%v): what others write beside it counts too", v.Plain)
	}
	s := b.open(filepath.Join(v.Dir, "spool")) // beside lost+found
	var err error
	v.idle, err = v.used()
	b.must(err)
	return s, v
}

// used returns how many bytes of the volume are in use, beyond those when it was idle.
func (v *volume) used() (int64, error) {
	used, _, err := v.Used()
	return used - v.idle, err
}

// measureSpool uploads one archive after the other, each to a server with a spool on a file system of its own.
func measureSpool(b *bench) {
	for _, c := range []struct {
		name string
		spec testarchive.Spec
		goal bool
	}{
		{"zip of .sym", testarchive.Spec{Mix: testarchive.OnlySym, Format: testarchive.Zip}, true},
		{"zip of .sym, stored", testarchive.Spec{Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true}, false},
		{"tar.gz of .sym and binaries", testarchive.Spec{Mix: testarchive.PlainMix, Format: testarchive.TarGzip}, false},
	} {
		c.spec.Seed, c.spec.Bytes = 1, b.size
		b.part(c.name, func(b *bench) {
			a := b.archive(c.spec)
			s, v := b.openVolume()
			stop := lab.Sample(b.Context(), volumeInterval, func(context.Context) (int64, error) { return v.used() })
			s.upload(a)
			seen, missed := stop()
			if missed > 0 {
				b.Errorf("%d looks at the volume failed", missed)
			}
			ratio := float64(slices.Max(seen)) / float64(a.Size)
			r := result{
				measure: fmt.Sprintf("peak spool bytes ÷ archive bytes, %s %s", megabytes(a.Size), c.name), target: "–",
				measured: fmt.Sprintf("%.4f", ratio),
			}
			if c.goal {
				r.target, r.missed = fmt.Sprintf("≤ %.2f", spoolTarget), ratio > spoolTarget
			}
			b.add(r)
			s.compare()
		})
	}
}

// measureCPU compares the server's CPU seconds for an upload with those of inflating it once, in turn. The target is
// for .sym alone; other members that came deflated are inflated a second time, to be stored as they are.
func measureCPU(b *bench) {
	for _, c := range []struct {
		name string
		mix  testarchive.Mix
		goal bool
	}{{".sym", testarchive.OnlySym, true}, {".sym and binaries", testarchive.PlainMix, false}} {
		a := b.archive(testarchive.Spec{Seed: 1, Bytes: b.size, Mix: c.mix, Format: testarchive.Zip})
		var all []pair
		for i := range *pairs {
			b.part(fmt.Sprintf("%s, pair %d", c.name, i+1), func(b *bench) { all = append(all, b.pair(a)) })
		}
		if len(all) < *pairs {
			b.FailNow()
		}
		slices.SortFunc(all, func(x, y pair) int { return cmp.Compare(x.ratio(), y.ratio()) })
		middle, low, high := all[len(all)/2], all[0], all[len(all)-1]
		r := result{
			measure: fmt.Sprintf("CPU seconds of the server ÷ those of only inflating and hashing, %s zip of %s", megabytes(a.Size), c.name),
			target:  "–",
			measured: fmt.Sprintf("%.2f (%.2f–%.2f, %d pairs): %.1f s ÷ %.1f s", middle.ratio(), low.ratio(), high.ratio(), len(all),
				middle.server.Seconds(), middle.reference.Seconds()),
		}
		if c.goal {
			r.target, r.missed = fmt.Sprintf("≤ %.1f", cpuTarget), middle.ratio() > cpuTarget
		}
		b.add(r)
	}
}

// A pair is the CPU time of the server and of the reference, for one archive.
type pair struct{ server, reference time.Duration }

func (p pair) ratio() float64 { return p.server.Seconds() / p.reference.Seconds() }

// pair measures one upload to a fresh server, from when it is ready until it has ended, and one run of the reference.
func (b *bench) pair(a *lab.Archive) (p pair) {
	s := b.open("")
	before, err := s.CPU()
	b.must(err)
	elapsed := s.upload(a)
	b.must(s.Stop())
	all, err := s.CPU()
	b.must(err)
	p = pair{server: all - before, reference: b.inflate(a)}
	b.say("server %.2f s, reference %.2f s, ratio %.2f; answered after %.1f s", p.server.Seconds(), p.reference.Seconds(), p.ratio(), elapsed.Seconds())
	s.compare()
	return p
}

// measureMemory8 uploads eight archives of different symbols at once.
func measureMemory8(b *bench) {
	for _, mix := range []testarchive.Mix{testarchive.RealMix, testarchive.OnlySym} {
		a := b.archive(testarchive.Spec{Seed: 2, Bytes: b.size, Mix: mix, Format: testarchive.Zip})
		var variants []*lab.Archive
		for i := range uint32(together) {
			v, err := a.Variant(i)
			b.must(err)
			variants = append(variants, v)
		}
		b.part(string(mix), func(b *bench) {
			b.memory(memory8Target, fmt.Sprintf("eight %s zips of the mix %q at once", megabytes(a.Size), mix), variants...)
		})
	}
}

// measureMemory1 uploads one archive almost as large as can be.
func measureMemory1(b *bench) {
	a := b.archive(testarchive.Spec{Seed: 3, Bytes: 4 * b.size, Mix: testarchive.RealMix, Format: testarchive.Zip})
	b.memory(memory1Target, "one zip of "+megabytes(a.Size), a)
}

// memory uploads archives at once, and looks at the most memory that the server had resident: its anonymous memory and the pages of its program.
func (b *bench) memory(target int64, what string, archives ...*lab.Archive) {
	s := b.open("")
	idle := s.memory("VmRSS")
	elapsed := s.upload(archives...)
	peak := s.memory("VmHWM")
	b.say("%s: idle %.0f MiB, peak %.0f MiB, %.1f s", what, mebi(idle), mebi(peak), elapsed.Seconds())
	b.atMost(target, peak, fmt.Sprintf(" (idle: %.0f)", mebi(idle)), "resident memory, %s", what)
	s.compare()
}

// memory returns a figure of the server's memory.
func (s *site) memory(name string) int64 {
	s.bench.Helper()
	n, err := s.Memory(name)
	s.must(err)
	return n
}
