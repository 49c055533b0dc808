package baseline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
)

// chargeScript is a check and charge of a whole chain in one round trip. Redis
// runs it alone, so nothing is overspent while the server lives. KEYS are the
// budgets, ARGV[1] the amount. It returns 0, or which budget has no room.
var chargeScript = redis.NewScript(-1, `
local amount = tonumber(ARGV[1])
for i = 1, #KEYS do
  local b = redis.call('HMGET', KEYS[i], 'limit', 'used')
  if tonumber(b[2]) + amount > tonumber(b[1]) then return i end
end
for i = 1, #KEYS do redis.call('HINCRBY', KEYS[i], 'used', amount) end
return 0`)

// recordScript charges an event once: KEYS[1] remembers its id for a day, the others are the budgets.
var recordScript = redis.NewScript(-1, `
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', 86400) then return 0 end
for i = 2, #KEYS do redis.call('HINCRBY', KEYS[i], 'used', ARGV[1]) end
return 1`)

// Redis keeps budgets in hashes.
type Redis struct {
	pool   *redis.Pool
	fsync  string
	prefix string
	chains [][]string // keys
}

const redisTimeout = 10 * time.Second

// OpenRedis connects to a server by its URL (redis://host:port). Keys begin with prefix.
func OpenRedis(ctx context.Context, url, prefix string, connections int) (*Redis, error) {
	r := &Redis{prefix: prefix, pool: &redis.Pool{
		MaxIdle: connections, MaxActive: connections, Wait: true,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialURLContext(ctx, url, redis.DialReadTimeout(redisTimeout), redis.DialWriteTimeout(redisTimeout))
		},
	}}
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if config, err := redis.StringMap(conn.Do("CONFIG", "GET", "append*")); err != nil {
		r.fsync = "durability unknown" // a hosted Redis may refuse CONFIG
	} else if r.fsync = "AOF " + config["appendfsync"]; config["appendonly"] != "yes" {
		r.fsync = "no AOF"
	}
	return r, errors.Join(chargeScript.Load(conn), recordScript.Load(conn))
}

// pingRedis succeeds once a server answers commands.
func pingRedis(ctx context.Context, url string) error {
	conn, err := redis.DialURLContext(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = redis.DoContext(conn, ctx, "PING")
	return err
}

// Name implements Store.
func (r *Redis) Name() string { return "Redis Lua, " + r.fsync }

// Setup implements Store.
func (r *Redis) Setup(ctx context.Context, t Tree) error {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	r.chains = make([][]string, len(t.Chains))
	made := map[string]bool{}
	for i, chain := range t.Chains {
		for _, entity := range chain {
			key := r.prefix + entity
			r.chains[i] = append(r.chains[i], key)
			if made[key] {
				continue
			}
			made[key] = true
			if err := conn.Send("HSET", key, "limit", t.Limit, "used", 0); err != nil {
				return err
			}
		}
	}
	_, err = conn.Do("") // sends, and reads all answers
	return err
}

// Charge implements Store: one EVALSHA.
func (r *Redis) Charge(ctx context.Context, e Event) (bool, error) {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	short, err := redis.Int(chargeScript.Do(conn, r.args(nil, e)...))
	return err == nil && short == 0, err
}

// Record implements Store: one EVALSHA an event, all of them in one pipeline.
func (r *Redis) Record(ctx context.Context, events []Event) error {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, e := range events {
		if err := recordScript.SendHash(conn, r.args([]string{r.prefix + "event:" + e.ID}, e)...); err != nil {
			return err
		}
	}
	replies, err := redis.Values(conn.Do(""))
	if err != nil {
		return err
	}
	for _, reply := range replies {
		if err, failed := reply.(redis.Error); failed {
			return err
		}
	}
	return nil
}

// args are a script's: how many keys, the keys, the amount.
func (r *Redis) args(first []string, e Event) []any {
	args := make([]any, 1, len(first)+len(r.chains[e.Caller])+2)
	for _, key := range first {
		args = append(args, key)
	}
	for _, key := range r.chains[e.Caller] {
		args = append(args, key)
	}
	args[0] = len(args) - 1
	return append(args, e.Amount)
}

// Used implements Store.
func (r *Redis) Used(ctx context.Context, entity string) (int64, error) {
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return redis.Int64(conn.Do("HGET", r.prefix+entity, "used"))
}

// Close implements Store.
func (r *Redis) Close() error {
	conn := r.pool.Get()
	err := r.removeKeys(conn)
	return errors.Join(err, conn.Close(), r.pool.Close())
}

// removeKeys removes what begins with the prefix, a page at a time.
func (r *Redis) removeKeys(conn redis.Conn) error {
	const page = 1000
	cursor := "0"
	for {
		reply, err := redis.Values(conn.Do("SCAN", cursor, "MATCH", r.prefix+"*", "COUNT", page))
		if err != nil {
			return fmt.Errorf("removing the keys %s*: %w", r.prefix, err)
		}
		var keys []string
		if _, err := redis.Scan(reply, &cursor, &keys); err != nil {
			return err
		}
		if len(keys) > 0 {
			if _, err := conn.Do("UNLINK", redis.Args{}.AddFlat(keys)...); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}
