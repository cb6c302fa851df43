package redislease_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/leasetest"
	"tecken-upload/internal/lease/redislease"
	"tecken-upload/internal/testenv"
)

// children is how many leases a process under test holds.
const children = 50

// cutOff returns a stale cut-off that a test can wait for, and that a busy machine does not pass by itself.
func cutOff(t *testing.T) time.Duration {
	t.Helper()
	return testenv.Slack(t, 4*time.Second)
}

// within fails the test if something took longer than promised.
func within(t *testing.T, took, promised time.Duration) {
	t.Helper()
	if most := promised + testenv.Slack(t, 2*time.Second); took > most {
		t.Errorf("it took %v, want %v at most", took, most)
	}
}

func TestMain(m *testing.M) {
	url := flag.String("lease.holder", "", "hold leases in the Redis at this URL, for a test")
	stale := flag.Duration("lease.stale", 0, "their stale cut-off")
	flag.Parse()
	if *url != "" {
		hold(*url, *stale)
	}
	os.Exit(m.Run())
}

// hold is the process to kill: it takes leases of tenant 1 and reports that.
func hold(url string, stale time.Duration) {
	ctx := context.Background()
	table, err := redislease.Open(url, stale)
	if err != nil {
		panic(err)
	}
	k := lease.NewKeeper(lease.Options{Shared: table, Instance: "child", Stale: stale})
	go k.Run(ctx)
	for range children {
		if _, err := k.Take(ctx, 1, children); err != nil {
			panic(err)
		}
	}
	fmt.Fprintln(os.Stdout, "held")
	// Its standard input is open as long as the test lives.
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// startHolder starts a process that holds leases, and returns once it does.
func startHolder(t *testing.T, url string, stale time.Duration) *os.Process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-lease.holder="+url, "-lease.stale="+stale.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill() // most tests have killed it
		_ = cmd.Wait()         // reports that it was killed
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return cmd.Process
}

// A keeper under test, and its reports.
type keeper struct {
	*lease.Keeper
	table *redislease.Table
	told  *atomic.Int64
}

func startKeeper(t *testing.T, url, instance string, stale time.Duration) keeper {
	t.Helper()
	k := keeper{table: open(t, url, stale), told: new(atomic.Int64)}
	k.Keeper = lease.NewKeeper(lease.Options{
		Shared: k.table, Instance: instance, Stale: stale, Told: func(error) { k.told.Add(1) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

// take takes a lease, and returns how long that took.
func (k keeper) take(t *testing.T, tenant int64, limit int) (release func(), took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), leasetest.Patience)
	defer cancel()
	start := time.Now()
	release, err := k.Take(ctx, tenant, limit)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	return release, time.Since(start)
}

// settled waits until Redis is in use, and drops earlier reports.
func (k keeper) settled(t *testing.T) {
	t.Helper()
	leasetest.Eventually(t, "Redis is in use", func() bool { return !k.Away() })
	k.told.Store(0)
}

// full fails the test unless tenant is at its limit.
func (k keeper) full(t *testing.T, tenant int64, limit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if release, err := k.Take(ctx, tenant, limit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("take of %d: %v", limit, err)
		if err == nil {
			release()
		}
	}
}

func TestKilledHolder(t *testing.T) {
	server := testenv.Redis(t)
	stale := cutOff(t)
	child := startHolder(t, server.URL(), stale)
	k := startKeeper(t, server.URL(), "here", stale)
	if n := leasetest.Count(t, k.table, 1); n != children {
		t.Fatalf("%d leases are held; want %d", n, children)
	}
	k.full(t, 1, children)
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if n := leasetest.Count(t, k.table, 1); n != children && time.Since(killed) < stale/2 {
		t.Errorf("right after, %d leases are held", n)
	}
	leasetest.Eventually(t, "the leases are reaped", func() bool { return leasetest.Count(t, k.table, 1) == 0 })
	took := time.Since(killed)
	t.Logf("the last of %d leases is gone %v after the kill; the cut-off is %v", children, took, stale)
	within(t, took, stale)
	release, _ := k.take(t, 1, 1)
	release()
}

func TestStoppedHolderComesBack(t *testing.T) {
	server := testenv.Redis(t)
	stale := cutOff(t)
	table := open(t, server.URL(), stale)
	child := startHolder(t, server.URL(), stale)
	if err := child.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	leasetest.Eventually(t, "the leases are reaped", func() bool { return leasetest.Count(t, table, 1) == 0 })
	if err := child.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	leasetest.Eventually(t, "the leases are back", func() bool { return leasetest.Count(t, table, 1) == children })
}

func TestTwoKeepersRace(t *testing.T) {
	server := testenv.Redis(t)
	stale := cutOff(t)
	keepers := []keeper{startKeeper(t, server.URL(), "a", stale), startKeeper(t, server.URL(), "b", stale)}
	for range 5 {
		if race(t, keepers) {
			leasetest.Eventually(t, "no lease is left", func() bool { return leasetest.Count(t, keepers[0].table, 1) == 0 })
			return
		}
		t.Log("the machine is so busy that Redis was away: once more")
		for _, k := range keepers {
			leasetest.Eventually(t, "Redis is back in use", func() bool { return !k.Away() })
		}
	}
	t.Fatal("Redis was away each time")
}

// race lets callers of all keepers race for leases. It returns false if Redis was away meanwhile.
func race(t *testing.T, keepers []keeper) bool {
	t.Helper()
	const callers, turns, limit = 8, 10, 3
	told := keepers[0].told.Load() + keepers[1].told.Load()
	var now, most atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range turns {
				ctx, cancel := context.WithTimeout(t.Context(), leasetest.Patience)
				release, err := keepers[i%2].Take(ctx, 1, limit)
				cancel()
				if err != nil {
					t.Errorf("take: %v", err)
					return
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-time.After(time.Millisecond)
				now.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if keepers[0].told.Load()+keepers[1].told.Load() > told {
		return false
	}
	if most.Load() > limit {
		t.Errorf("%d at once; the limit is %d", most.Load(), limit)
	}
	return true
}

func TestRedisDies(t *testing.T) {
	server := testenv.Redis(t)
	k := startKeeper(t, server.URL(), "here", cutOff(t))
	k.take(t, 1, 2)
	gone, _ := k.take(t, 1, 2)
	k.settled(t)
	server.Kill()
	gone()
	_, took := k.take(t, 1, 2)
	t.Logf("the first take without Redis took %v", took)
	within(t, took, time.Second)
	k.full(t, 1, 2) // the one taken before counts
	if !k.Away() || k.told.Load() != 1 || len(k.Held()) != 2 {
		t.Errorf("away: %v, told %d times, held %v", k.Away(), k.told.Load(), k.Held())
	}
	server.Restart()
	leasetest.Eventually(t, "Redis is back in use", func() bool { return !k.Away() })
	if n := leasetest.Count(t, k.table, 1); n != 2 {
		t.Errorf("%d leases are in the new Redis; want 2", n)
	}
}

// A restart of Redis goes unnoticed.
func TestRedisForgets(t *testing.T) {
	server := testenv.Redis(t)
	stale := cutOff(t)
	k := startKeeper(t, server.URL(), "here", stale)
	k.take(t, 1, 2)
	k.take(t, 2, 2)
	server.Restart()
	start := time.Now()
	leasetest.Eventually(t, "the leases are back", func() bool {
		return leasetest.Count(t, k.table, 1) == 1 && leasetest.Count(t, k.table, 2) == 1
	})
	within(t, time.Since(start), stale/4) // they are renewed that often
}

func TestRedisHangs(t *testing.T) {
	server := testenv.Redis(t)
	k := startKeeper(t, server.URL(), "here", cutOff(t))
	k.take(t, 1, 2)
	gone, _ := k.take(t, 1, 2)
	k.settled(t)
	server.Stop()
	start := time.Now()
	gone()
	within(t, time.Since(start), 0)
	// All at once, those of one tenant behind each other.
	took := make(chan time.Duration)
	const tenants, callers = 20, 3
	for i := range tenants * callers {
		go func() {
			_, d := k.take(t, 10+int64(i%tenants), callers)
			took <- d
		}()
	}
	var worst time.Duration
	for range tenants * callers {
		worst = max(worst, <-took)
	}
	t.Logf("%d takes when it hangs: the slowest took %v", tenants*callers, worst)
	within(t, worst, time.Second)
	start = time.Now()
	for tenant := range int64(100) {
		k.take(t, 1000+tenant, 1)
	}
	within(t, time.Since(start), 0) // else each would wait anew
	if !k.Away() || k.told.Load() != 1 {
		t.Errorf("away: %v, told %d times", k.Away(), k.told.Load())
	}
	server.Continue()
	leasetest.Eventually(t, "Redis is back in use", func() bool { return !k.Away() })
	leasetest.Eventually(t, "Redis knows what is held", func() bool {
		leases, err := k.table.List(t.Context())
		return err == nil && len(leases) == len(k.Held())
	})
}

// dies is a server that takes connections and closes them at once, like a balancer before a dead Redis.
func dies(t *testing.T) (url string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return "redis://" + l.Addr().String(), connections
}

// A Redis that is away is not stormed.
func TestNoStorm(t *testing.T) {
	url, connections := dies(t)
	k := startKeeper(t, url, "here", cutOff(t))
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for time.Since(start) < time.Second {
				release, _ := k.take(t, int64(i), 1)
				release()
			}
		})
	}
	wg.Wait()
	// Eight at first, each once more, and a few to see whether it is back; other libraries' own probes are
	// one a second.
	elapsed := time.Since(start)
	t.Logf("%d connections in %v", connections.Load(), elapsed)
	if most := 50 + 20*int64(elapsed/time.Second); connections.Load() > most || connections.Load() == 0 {
		t.Errorf("%d connections in %v; want at most %d", connections.Load(), elapsed, most)
	}
	if k.told.Load() != 1 {
		t.Errorf("told %d times", k.told.Load())
	}
}

// No failure of Redis leaves anything behind in this process.
func TestNothingIsLeft(t *testing.T) {
	t.Run("a fleet that loses Redis", func(t *testing.T) {
		server := testenv.Redis(t)
		stale := cutOff(t)
		var keepers []keeper
		for i := range 5 {
			k := startKeeper(t, server.URL(), fmt.Sprint(i), stale)
			k.take(t, 1, 10)
			keepers = append(keepers, k)
		}
		server.Kill()
		for _, k := range keepers {
			for tenant := range int64(20) {
				release, _ := k.take(t, tenant, 10)
				release()
			}
		}
	})
	leasetest.Eventually(t, "no goroutine is left", func() bool {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "go-redis") && !strings.Contains(text, "lease.(*Keeper)")
	})
}
