package redislease

import "github.com/redis/go-redis/v9"

// Each script is one step of the server. It reads the server's own clock, in milliseconds, since the clocks of instances may differ.
//
//	KEYS  the tenant's set, the index
//
// Both scripts drop members that were renewed too long ago, or in the future: after a failover the new server's clock may be behind, and a
// dead lease must not live until it has caught up.
const (
	now = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stale, lifetime, tenant = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - stale)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + stale, '+inf')
`
	keep = `
redis.call('PEXPIRE', KEYS[1], lifetime)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - lifetime)
redis.call('ZADD', KEYS[2], now, tenant)
redis.call('PEXPIRE', KEYS[2], lifetime)
return 1
`
)

// takeScript returns 1, or 0 at the limit. ARGV: cut-off, lifetime, tenant, limit, member.
var takeScript = redis.NewScript(now + `
if not redis.call('ZSCORE', KEYS[1], ARGV[5]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
	return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[5])
` + keep)

// renewScript adds and renews members. ARGV: cut-off, lifetime, tenant, members.
var renewScript = redis.NewScript(now + `
for i = 4, #ARGV do
	redis.call('ZADD', KEYS[1], now, ARGV[i])
end
` + keep)
