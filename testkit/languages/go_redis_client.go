// go-redis: one server at a time, by a host name that has the addresses of several, or as a cluster.

package main

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/redis.v5"
)

type commands interface {
	redis.Cmdable
	TxPipeline() *redis.Pipeline
}

type client struct {
	commands
	// A flush is of one server.
	forEach func(work func(*redis.Client) error) error
	// The keys of one command of a cluster must be in one slot.
	isCluster bool
}

func connect(service string, addresses []string, name string) cache {
	if service == "redis-cluster" {
		inner := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addresses, DialTimeout: within, ReadTimeout: within, WriteTimeout: within,
		})
		// The library's own ForEachMaster and transactions need the slots, whose list in the form of Redis 7 this
		// version does not understand: it goes by redirections.
		each := func(work func(*redis.Client) error) error {
			for _, address := range addresses {
				if err := work(redis.NewClient(&redis.Options{Addr: address})); err != nil {
					return err
				}
			}
			return nil
		}
		return client{inner, each, true}
	}
	inner := redis.NewClient(&redis.Options{
		Addr: name, DialTimeout: within, ReadTimeout: within, WriteTimeout: within, MaxRetries: 5,
	})
	return client{inner, func(work func(*redis.Client) error) error { return work(inner) }, false}
}

func valueOf(value string, err error) (*string, error) {
	if err == redis.Nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

func (c client) get(key string) (*string, error) {
	return valueOf(c.Get(key).Result())
}

func (c client) many(keys []string) ([]*string, error) {
	values := make([]*string, len(keys))
	if c.isCluster {
		for at, key := range keys {
			value, err := c.get(key)
			if err != nil {
				return nil, err
			}
			values[at] = value
		}
		return values, nil
	}
	found, err := c.MGet(keys...).Result()
	if err != nil {
		return nil, err
	}
	for at, value := range found {
		if text, isThere := value.(string); isThere {
			values[at] = &text
		}
	}
	return values, nil
}

func (c client) set(key, value string) error {
	return c.Set(key, value, 0).Err()
}

func (c client) delete(key string) error {
	return c.Del(key).Err()
}

func (c client) check(prefix string) {
	// Keys with this tag are in one slot.
	name := "{" + prefix + "}"
	var keys []string
	var pairs, values, nothing []interface{}
	for at := 0; at < 300; at++ {
		key, value := name+strconv.Itoa(at), strconv.Itoa(at)
		keys = append(keys, key)
		values, nothing = append(values, value), append(nothing, nil)
		pairs = append(pairs, key, value)
	}
	// Any command has a method Result, of whose two results the second is an error.
	is := func(what string, wanted interface{}, command func() interface{}) {
		equal(what, wanted, func() (interface{}, error) {
			results := reflect.ValueOf(command()).MethodByName("Result").Call(nil)
			if err := results[1]; !err.IsNil() {
				return nil, err.Interface().(error)
			}
			return results[0].Interface(), nil
		})
	}
	missing := func(what, key string) {
		fails(what, redis.Nil, func() error { return c.Get(name + key).Err() })
	}

	is("set of text", "OK", func() interface{} { return c.Set(name+"text", "Grüße", 0) })
	is("get of text", "Grüße", func() interface{} { return c.Get(name + "text") })
	is("set of bytes", "OK", func() interface{} { return c.Set(name+"bytes", []byte("\r\n\x00\xff"), 0) })
	is("get of bytes", "\r\n\x00\xff", func() interface{} { return c.Get(name + "bytes") })
	missing("get of nothing", "missing")
	is("mset", "OK", func() interface{} { return c.MSet(pairs...) })
	is("mget", append(append([]interface{}{}, values...), nil), func() interface{} {
		return c.MGet(append(append([]string{}, keys...), name+"missing")...)
	})
	is("setnx of what is there", false, func() interface{} { return c.SetNX(name+"text", "x", 0) })
	is("setnx with a lifetime", true, func() interface{} { return c.SetNX(name+"new", "x", 100*time.Second) })
	is("setxx", true, func() interface{} { return c.SetXX(name+"new", "y", 0) })
	is("getset", "y", func() interface{} { return c.GetSet(name+"new", "z") })
	is("append", int64(3), func() interface{} { return c.Append(name+"new", "ab") })
	is("getrange", "ab", func() interface{} { return c.GetRange(name+"new", 1, -1) })
	is("setrange", int64(3), func() interface{} { return c.SetRange(name+"new", 1, "cd") })
	is("strlen", int64(3), func() interface{} { return c.StrLen(name + "new") })
	is("incrby", int64(5), func() interface{} { return c.IncrBy(name+"count", 5) })
	is("decr", int64(4), func() interface{} { return c.Decr(name + "count") })
	is("incrbyfloat", 4.5, func() interface{} { return c.IncrByFloat(name+"count", 0.5) })
	equal("incr of text", true, func() (interface{}, error) {
		err := c.Incr(name + "text").Err()
		return err != nil && strings.Contains(err.Error(), "not an integer"), nil
	})
	is("exists", true, func() interface{} { return c.Exists(name + "text") })
	is("expire", true, func() interface{} { return c.Expire(name+"text", 600*time.Second) })
	equal("ttl", true, func() (interface{}, error) {
		left, err := c.TTL(name + "text").Result()
		return left >= 590*time.Second && left <= 600*time.Second, err
	})
	is("persist", true, func() interface{} { return c.Persist(name + "text") })
	is("pttl without an end", -time.Millisecond, func() interface{} { return c.PTTL(name + "text") })
	is("type", "string", func() interface{} { return c.Type(name + "text") })
	is("set with a lifetime", "OK", func() interface{} { return c.Set(name+"brief", "x", 900*time.Millisecond) })
	equal("pipeline", values, func() (interface{}, error) {
		return results(c.Pipeline(), func(pipeline *redis.Pipeline) []*redis.StringCmd {
			var all []*redis.StringCmd
			for _, key := range keys {
				all = append(all, pipeline.Get(key))
			}
			return all
		})
	})
	if !c.isCluster {
		equal("transaction", []interface{}{"2"}, func() (interface{}, error) {
			return results(c.TxPipeline(), func(pipeline *redis.Pipeline) []*redis.StringCmd {
				pipeline.Set(name+"p", "1", 0)
				pipeline.Expire(name+"p", 100*time.Second)
				pipeline.Incr(name + "p")
				return []*redis.StringCmd{pipeline.Get(name + "p")}
			})
		})
	}
	release := "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end"
	is("a lock", true, func() interface{} { return c.SetNX(name+"lock", "me", 10*time.Second) })
	is("release by another", int64(0), func() interface{} { return c.Eval(release, []string{name + "lock"}, "you") })
	is("release", int64(1), func() interface{} { return c.Eval(release, []string{name + "lock"}, "me") })
	ends("the end of a lifetime", func() bool { return c.Get(name+"brief").Err() == redis.Nil })
	is("delete", int64(1), func() interface{} { return c.Del(name + "text") })
	is("delete of nothing", int64(0), func() interface{} { return c.Del(name + "text") })
	is("unlink of many", int64(300), func() interface{} { return c.Unlink(keys...) })
	is("mget of what was deleted", nothing, func() interface{} { return c.MGet(keys...) })
	large := strings.Repeat("0123456789", 90_000)
	is("set of a large value", "OK", func() interface{} { return c.Set(name+"large", large, 0) })
	is("get of a large value", large, func() interface{} { return c.Get(name + "large") })
	equal("clear", nil, func() (interface{}, error) {
		return nil, c.forEach(func(server *redis.Client) error { return server.FlushAll().Err() })
	})
	missing("get after a clear", "new")
}

// Carries out a pipeline, and returns the values that these commands have got.
func results(pipeline *redis.Pipeline, fill func(*redis.Pipeline) []*redis.StringCmd) (interface{}, error) {
	defer pipeline.Close()
	all := fill(pipeline)
	if _, err := pipeline.Exec(); err != nil {
		return nil, err
	}
	var values []interface{}
	for _, command := range all {
		values = append(values, command.Val())
	}
	return values, nil
}

func main() {
	run("go-redis", connect)
}
