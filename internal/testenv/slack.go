package testenv

import (
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait of the tests. Only a fault reaches it: a second on a quiet machine is far below it on one ten times as slow.
const Patience = 2 * time.Minute

// quietWork is calibrate's time on a quiet machine of two cores, with the race detector.
const quietWork = 100 * time.Millisecond

// Slack returns a deadline on this machine, as busy as it is now, for something that takes less than quiet on a quiet one: quiet, or more
// by the factor by which a fixed piece of work takes longer.
//
// It is for deadlines of real processes, and for settings that are deadlines. Tests that decide by order, by counts or with a fake clock
// need none.
func Slack(t testing.TB, quiet time.Duration) time.Duration {
	t.Helper()
	took, err := calibrate(t.TempDir())
	if err != nil {
		t.Fatalf("calibrate: %v", err)
	}
	slack := scale(quiet, took)
	t.Logf("the fixed piece of work takes %v here, so %v are %v", took, quiet, slack)
	return slack
}

func scale(quiet, took time.Duration) time.Duration {
	return time.Duration(float64(quiet) * max(1, float64(took)/float64(quietWork))).Round(time.Millisecond)
}

// calibrate does the fixed piece of work in dir, with all that tests wait for: it starts processes, syncs a file, switches between
// goroutines, and computes on two cores for longer than a scheduler's slice.
func calibrate(dir string) (took time.Duration, err error) {
	start := time.Now()
	err = errors.Join(startProcesses(5), syncFile(dir), handOver(2000))
	var cores sync.WaitGroup
	for range 2 {
		cores.Go(func() { hash(40) })
	}
	cores.Wait()
	return time.Since(start), err
}

func startProcesses(n int) error {
	for range n {
		if err := exec.Command("/bin/true").Run(); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(dir string) error {
	f, err := os.Create(filepath.Join(dir, "calibration"))
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	return errors.Join(err, f.Sync(), f.Close())
}

// hash takes 2 ms for each MiB.
func hash(mebibytes int) {
	block := make([]byte, 1<<20)
	for range mebibytes {
		md5.Sum(block)
	}
}

func handOver(times int) error {
	there, back := make(chan int), make(chan int)
	go func() {
		defer close(back)
		for n := range there {
			back <- n
		}
	}()
	for i := range times {
		there <- i
		if n := <-back; n != i {
			return fmt.Errorf("handed over %d, and got %d back", i, n)
		}
	}
	close(there)
	<-back
	return nil
}
