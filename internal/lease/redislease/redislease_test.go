package redislease_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/leasetest"
	"tecken-upload/internal/lease/redislease"
	"tecken-upload/internal/testenv"
)

func open(t testing.TB, url string, stale time.Duration) *redislease.Table {
	t.Helper()
	table, err := redislease.Open(url, stale)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func TestTable(t *testing.T) {
	server := testenv.Redis(t)
	leasetest.Run(t, func(t *testing.T, stale time.Duration) leasetest.Table {
		if err := client(t, server).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return open(t, server.URL(), stale)
	})
}

func client(t testing.TB, server *testenv.RedisServer) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: server.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestKeysOutliveTheCutOff(t *testing.T) {
	server := testenv.Redis(t)
	c := client(t, server)
	for stale, want := range map[time.Duration]time.Duration{time.Second: 24 * time.Hour, 20 * time.Hour: 40 * time.Hour} {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := open(t, server.URL(), stale).Take(t.Context(), leasetest.New(1, 1), 1); err != nil {
			t.Fatal(err)
		}
		keys, err := c.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) != 2 {
			t.Fatalf("keys: %q, %v", keys, err)
		}
		for _, key := range keys {
			if ttl, err := c.PTTL(t.Context(), key).Result(); err != nil || ttl < want-time.Hour || ttl > want {
				t.Errorf("with a cut-off of %v, %s lives for %v, %v", stale, key, ttl, err)
			}
			if !strings.HasPrefix(key, "{tecken}:") {
				t.Errorf("%s is not in the slot of the others", key)
			}
		}
	}
}

// After a failover the new server's clock may be behind.
func TestALeaseOfTheFutureIsStale(t *testing.T) {
	server := testenv.Redis(t)
	table, c := open(t, server.URL(), time.Minute), client(t, server)
	dead, alive := leasetest.New(1, 1), leasetest.New(1, 2)
	if err := table.Take(t.Context(), dead, 1); err != nil {
		t.Fatal(err)
	}
	future := float64(time.Now().Add(time.Hour).UnixMilli())
	members, err := c.ZRange(t.Context(), "{tecken}:leases:1", 0, -1).Result()
	if err != nil || len(members) != 1 {
		t.Fatalf("%q, %v", members, err)
	}
	if err := c.ZAdd(t.Context(), "{tecken}:leases:1", redis.Z{Score: future, Member: members[0]}).Err(); err != nil {
		t.Fatal(err)
	}
	if n := leasetest.Count(t, table, 1); n != 0 {
		t.Errorf("%d leases are listed", n)
	}
	if err := table.Take(t.Context(), alive, 1); err != nil {
		t.Error(err)
	}
}

// A Redis that answers PING and takes no writes is away.
func TestAReadOnlyRedisIsAway(t *testing.T) {
	server := testenv.Redis(t)
	table := open(t, server.URL(), time.Minute)
	if err := client(t, server).ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := table.Renew(t.Context()); err == nil {
		t.Error("renew nothing: no error")
	}
	if err := table.Take(t.Context(), leasetest.New(1, 1), 1); err == nil {
		t.Error("take: no error")
	}
}

// After a failover one address leads to another server. All old connections are closed.
func TestFailoverBehindOneAddress(t *testing.T) {
	former, next := testenv.Redis(t), testenv.Redis(t)
	gate := testenv.NewGate(t, former.Addr)
	table := open(t, former.Through(gate.Addr), time.Minute)
	const callers = 20
	all := func(do func(lease.Lease) error) {
		t.Helper()
		done := make(chan error)
		for i := range callers {
			go func() { done <- do(leasetest.New(1, i)) }()
		}
		for range callers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	all(func(l lease.Lease) error { return table.Take(t.Context(), l, callers) })
	if err := client(t, former).ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	gate.Lead(next.Addr)
	all(func(l lease.Lease) error { return table.Renew(t.Context(), l) })
	if n := leasetest.Count(t, table, 1); n != callers {
		t.Errorf("%d leases are renewed, want %d", n, callers)
	}
	if old, err := client(t, former).ClientList(t.Context()).Result(); err != nil || strings.Contains(old, "name=tecken-upload") {
		t.Errorf("connections to the old server (%v):\n%s", err, old)
	}
}

// A loading server is not asked over and over: the next call may find another one.
func TestARedisThatLoads(t *testing.T) {
	server := testenv.Redis(t)
	loading, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer loading.Close()
	go func() {
		for {
			conn, err := loading.Accept()
			if err != nil {
				return // closed above
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if strings.HasPrefix(lines.Text(), "*") { // a command begins
						if _, err := io.WriteString(conn, "-LOADING Redis is loading the dataset in memory\r\n"); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	gate := testenv.NewGate(t, loading.Addr().String())
	table := open(t, server.Through(gate.Addr), time.Minute)
	if err := table.Renew(t.Context()); err == nil {
		t.Error("renew: no error")
	}
	gate.Lead(server.Addr)
	if err := errors.Join(table.Renew(t.Context()), table.Take(t.Context(), leasetest.New(1, 1), 1)); err != nil {
		t.Error(err)
	}
	if now, _ := gate.Open(loading.Addr().String()); now > 8 {
		t.Errorf("%d connections", now)
	}
}

// Some proxies know scripts by their text only.
func TestARedisThatTakesNoHashes(t *testing.T) {
	server := testenv.Redis(t)
	table := open(t, server.URL(), time.Minute)
	if err := client(t, server).Do(t.Context(), "ACL", "SETUSER", "default", "-evalsha").Err(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(table.Renew(t.Context()), table.Take(t.Context(), leasetest.New(1, 1), 1)); err != nil {
		t.Error(err)
	}
}

// The index drops tenants that were unused for the life of a key.
func TestTheIndexForgets(t *testing.T) {
	server := testenv.Redis(t)
	table, c := open(t, server.URL(), time.Second), client(t, server)
	old := float64(time.Now().Add(-25 * time.Hour).UnixMilli())
	if err := c.ZAdd(t.Context(), "{tecken}:tenants", redis.Z{Score: old, Member: "7"}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := table.Take(t.Context(), leasetest.New(1, 1), 1); err != nil {
		t.Fatal(err)
	}
	tenants, err := c.ZRange(t.Context(), "{tecken}:tenants", 0, -1).Result()
	if err != nil || !slices.Equal(tenants, []string{"1"}) {
		t.Errorf("the index has %q, %v", tenants, err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	server := testenv.Redis(t)
	table, c := open(t, server.URL(), time.Minute), client(t, server)
	done := make(chan error)
	const callers = 100
	for i := range callers {
		go func() { done <- table.Take(t.Context(), leasetest.New(1, i), callers) }()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	list, err := c.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(list, "name=tecken-upload"); n < 1 || n > 8 {
		t.Errorf("%d connections:\n%s", n, list)
	}
}

func TestURLs(t *testing.T) {
	for _, url := range []string{"http://user:hunter2@host", "redis://user:hunter2@host:port", "redis://user:hunter2@host/db", "redis://user:hunter2@host\x00", "redis://user:hunter2@host:70000", "redis://user:hunter2@host:0"} {
		if _, err := redislease.Open(url, time.Minute); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"rediss://user:hunter2@host:6380/1", "unix:///run/redis.sock?db=1", "redis://host", "redis://[::1]:65535"} {
		open(t, url, time.Minute)
	}
}

var _ lease.Table = (*redislease.Table)(nil)
