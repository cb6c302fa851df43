// Package redislease keeps tenants' leases in Redis, version 7 or newer, shared by all instances.
//
// Each tenant has a sorted set with a member per lease, scored with its last renewal in milliseconds by the server's clock. An index holds
// the tenants:
//
//	{tecken}:leases:<tenant>   "<id> <since, Unix milliseconds> <instance>"
//	{tecken}:tenants           "<tenant>", scored with the last renewal of any of its leases
//
// The part in braces puts all keys into one slot of a Redis Cluster. Taking or renewing a lease reaps its tenant's stale leases. A key
// lives for a day after its last use, which only tidies up.
//
// Redis may lose all of it at any time: renewals put the leases back.
package redislease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tecken-upload/internal/lease"
)

const (
	prefix = "{tecken}:leases:"
	index  = "{tecken}:tenants"

	// keyLifetime is the life of a key after its last use. Leases of dead processes end earlier, by the cut-off.
	keyLifetime = 24 * time.Hour
	// timeout bounds a call without an earlier deadline, and each step of it.
	timeout = time.Second
	// poolSize bounds the connections of one process. A call takes a fraction of a millisecond; more connections would only crowd a Redis
	// that comes back.
	poolSize = 8
	// noTenant is a tenant id without leases: no token has it.
	noTenant = 0
	// listBatch is the number of tenants listed in one round trip.
	listBatch = 500
)

// A Table is a table of leases in Redis. It implements lease.Table.
type Table struct {
	opts  *redis.Options
	stale time.Duration

	mu     sync.Mutex
	client *redis.Client // replaced if its server takes no leases
	closed bool
}

// silence turns off go-redis's log on standard error: everything in it is also an error.
var silence = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

// Printf implements go-redis's logger.
func (silent) Printf(context.Context, string, ...any) {}

// Open returns the table at url: redis://, rediss:// or unix://, as in go-redis. stale is the cut-off, the same on all instances. Open
// makes no connection: it fails for a malformed url or a port above 65535, not for a Redis that is down.
func Open(rawURL string, stale time.Duration) (*Table, error) {
	// url.Parse's error would show the URL, which may hold a password.
	if _, err := url.Parse(rawURL); err != nil {
		return nil, errors.New("open the shared leases: the URL can't be read")
	}
	opts, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("open the shared leases: %w", err)
	}
	if err := checkPort(opts); err != nil {
		return nil, fmt.Errorf("open the shared leases: %w", err)
	}
	silence()
	opts.ClientName = "tecken-upload"
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = timeout, timeout, timeout, timeout
	opts.ContextTimeoutEnabled = true // else deadlines of contexts do not count
	opts.PoolSize, opts.MaxActiveConns, opts.PipelinePoolSize = poolSize, poolSize, -1
	// One retry at once, for a connection that broke while idle. Later retries are the keeper's.
	opts.MaxRetries, opts.DialerRetries = 1, 1
	opts.MinRetryBackoff, opts.MaxRetryBackoff = -1, -1
	// Send only what is asked for, and HELLO.
	opts.Protocol = 2
	opts.DisableIdentity = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &Table{opts: opts, client: redis.NewClient(opts), stale: stale}, nil
}

// checkPort refuses a port that go-redis would try for ever.
func checkPort(opts *redis.Options) error {
	if opts.Network == "unix" {
		return nil
	}
	_, port, err := net.SplitHostPort(opts.Addr)
	if err != nil {
		return errors.New("the host and port can't be read")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not from 1 to 65535", port)
	}
	return nil
}

// Close ends the connections. Later calls fail.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.client.Close()
}

// do makes a call. If a server answers that it takes no writes, or not yet, do closes all connections and repeats the call once over a new
// one: after a failover the same address leads to another server.
func (t *Table) do(ctx context.Context, call func(*redis.Client) error) error {
	client := t.current()
	err := call(client)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if redis.IsReadOnlyError(err) || redis.IsLoadingError(err) || redis.IsMasterDownError(err) {
		t.forsake(client)
	}
	if next := t.current(); next != client { // or another call has replaced it
		return call(next)
	}
	return err
}

// pipelined makes a call of several commands.
func (t *Table) pipelined(ctx context.Context, fill func(redis.Pipeliner) error) error {
	return t.do(ctx, func(c *redis.Client) error {
		_, err := c.Pipelined(ctx, fill)
		return err
	})
}

func (t *Table) current() *redis.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.client
}

// forsake replaces a client, if no other call has.
func (t *Table) forsake(client *redis.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == client && !t.closed {
		t.client = redis.NewClient(t.opts)
		_ = client.Close() // its connections are useless
	}
}

// Take implements lease.Table.
func (t *Table) Take(ctx context.Context, l lease.Lease, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// As in Renew: with scripts by hash, a Redis without script storage would be away and back by turns.
	var taken bool
	err := t.do(ctx, func(c *redis.Client) (err error) {
		taken, err = takeScript.Eval(ctx, c, keys(l.Tenant), t.args(l.Tenant, limit, member(l))...).Bool()
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("take a lease: %w", err)
	case !taken:
		return lease.ErrLimit
	}
	return nil
}

// Renew implements lease.Table.
func (t *Table) Renew(ctx context.Context, leases ...lease.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := t.pipelined(ctx, func(pipe redis.Pipeliner) error {
		if len(leases) == 0 {
			// Not a PING: a full or read-only Redis answers that.
			renewScript.Eval(ctx, pipe, keys(noTenant), t.args(noTenant)...)
		}
		for tenant, members := range byTenant(leases) {
			// Not by its hash: a pipeline can't react to a server that does not know it.
			renewScript.Eval(ctx, pipe, keys(tenant), t.args(tenant, members...)...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("renew %d leases: %w", len(leases), err)
	}
	return nil
}

// Release implements lease.Table.
func (t *Table) Release(ctx context.Context, leases ...lease.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := t.pipelined(ctx, func(pipe redis.Pipeliner) error {
		for tenant, members := range byTenant(leases) {
			pipe.ZRem(ctx, key(tenant), members...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("release %d leases: %w", len(leases), err)
	}
	return nil
}

// List returns all leases, by tenant and age. It changes nothing.
func (t *Table) List(ctx context.Context) ([]lease.Lease, error) {
	var tenants []string
	err := t.do(ctx, func(c *redis.Client) (err error) {
		tenants, err = c.ZRange(ctx, index, 0, -1).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tenants with leases: %w", err)
	}
	var leases []lease.Lease
	for batch := range slices.Chunk(tenants, listBatch) {
		some, err := t.list(ctx, batch)
		if err != nil {
			return nil, fmt.Errorf("list the leases: %w", err)
		}
		leases = append(leases, some...)
	}
	lease.Sort(leases)
	return leases, nil
}

// list returns the live leases of some tenants.
func (t *Table) list(ctx context.Context, tenants []string) ([]lease.Lease, error) {
	var clock *redis.TimeCmd
	sets := make([]*redis.ZSliceCmd, len(tenants))
	err := t.pipelined(ctx, func(pipe redis.Pipeliner) error {
		clock = pipe.Time(ctx)
		for i, tenant := range tenants {
			sets[i] = pipe.ZRangeWithScores(ctx, prefix+tenant, 0, -1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var leases []lease.Lease
	for i, tenant := range tenants {
		id, err := strconv.ParseInt(tenant, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("tenant %q: not a number", tenant)
		}
		for _, z := range sets[i].Val() {
			text, _ := z.Member.(string)
			l, err := parse(text)
			if err != nil {
				return nil, err
			}
			l.Tenant, l.Renewed = id, time.UnixMilli(int64(z.Score))
			if clock.Val().Sub(l.Renewed).Abs() < t.stale {
				leases = append(leases, l)
			}
		}
	}
	return leases, nil
}

// args are the arguments of a script.
func (t *Table) args(tenant int64, more ...any) []any {
	lifetime := max(keyLifetime, 2*t.stale)
	return append([]any{t.stale.Milliseconds(), lifetime.Milliseconds(), tenant}, more...)
}

func key(tenant int64) string { return prefix + strconv.FormatInt(tenant, 10) }

func keys(tenant int64) []string { return []string{key(tenant), index} }

// byTenant returns the members of leases by tenant.
func byTenant(leases []lease.Lease) map[int64][]any {
	members := map[int64][]any{}
	for _, l := range leases {
		members[l.Tenant] = append(members[l.Tenant], member(l))
	}
	return members
}

// member returns l's member in its tenant's set. It is constant while l is held.
func member(l lease.Lease) string {
	return fmt.Sprintf("%s %d %s", l.ID, l.Since.UnixMilli(), l.Instance)
}

// parse is the reverse of member.
func parse(text string) (lease.Lease, error) {
	fields := strings.SplitN(text, " ", 3)
	if len(fields) != 3 {
		return lease.Lease{}, fmt.Errorf("lease %q: not of three fields", text)
	}
	since, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return lease.Lease{}, fmt.Errorf("lease %q: since: not a number", text)
	}
	return lease.Lease{ID: fields[0], Since: time.UnixMilli(since), Instance: fields[2]}, nil
}
