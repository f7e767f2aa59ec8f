// gomemcache: keys are spread over all servers. It leaves out none that fails, and repeats nothing.

package main

import (
	"strconv"
	"strings"

	"github.com/bradfitz/gomemcache/memcache"
)

type client struct{ *memcache.Client }

func connect(_ string, addresses []string, _ string) cache {
	inner := memcache.New(addresses...)
	inner.Timeout = within
	return client{inner}
}

func text(item *memcache.Item, err error) (interface{}, error) {
	if err != nil {
		return nil, err
	}
	return string(item.Value), nil
}

func (c client) get(key string) (*string, error) {
	item, err := c.Get(key)
	if err == memcache.ErrCacheMiss {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value := string(item.Value)
	return &value, nil
}

func (c client) many(keys []string) ([]*string, error) {
	found, err := c.GetMulti(keys)
	if err != nil {
		return nil, err
	}
	values := make([]*string, len(keys))
	for at, key := range keys {
		if item, isThere := found[key]; isThere {
			value := string(item.Value)
			values[at] = &value
		}
	}
	return values, nil
}

func (c client) set(key, value string) error {
	return c.Set(&memcache.Item{Key: key, Value: []byte(value)})
}

func (c client) delete(key string) error {
	if err := c.Delete(key); err != memcache.ErrCacheMiss {
		return err
	}
	return nil
}

func (c client) check(name string) {
	item := func(key, value string) *memcache.Item {
		return &memcache.Item{Key: name + key, Value: []byte(value)}
	}
	done := func(what string, work func() error) {
		equal(what, nil, func() (interface{}, error) { return nil, work() })
	}
	is := func(what, key, wanted string) {
		equal(what, wanted, func() (interface{}, error) { return text(c.Get(name + key)) })
	}
	number := func(what string, wanted uint64, work func() (uint64, error)) {
		equal(what, wanted, func() (interface{}, error) { return work() })
	}
	missing := func(what, key string) {
		fails(what, memcache.ErrCacheMiss, func() error {
			_, err := c.Get(name + key)
			return err
		})
	}
	var keys []string
	all := map[string]string{}
	for at := 0; at < 300; at++ {
		key := name + strconv.Itoa(at)
		keys = append(keys, key)
		all[key] = strconv.Itoa(at)
	}
	many := func() (interface{}, error) {
		found, err := c.GetMulti(keys)
		values := map[string]string{}
		for key, item := range found {
			values[key] = string(item.Value)
		}
		return values, err
	}

	done("set of text", func() error { return c.Set(item("text", "Grüße")) })
	is("get of text", "text", "Grüße")
	done("set of bytes", func() error { return c.Set(item("bytes", "\r\n\x00\xff")) })
	is("get of bytes", "bytes", "\r\n\x00\xff")
	done("set with flags", func() error {
		flagged := item("flags", "x")
		flagged.Flags = 4_000_000_000
		return c.Set(flagged)
	})
	equal("get of flags", uint32(4_000_000_000), func() (interface{}, error) {
		got, err := c.Get(name + "flags")
		if err != nil {
			return nil, err
		}
		return got.Flags, nil
	})
	missing("get of nothing", "missing")
	done("set of many", func() error {
		for key, value := range all {
			if err := c.set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	equal("GetMulti", all, many)
	fails("add of what is there", memcache.ErrNotStored, func() error { return c.Add(item("text", "x")) })
	done("add", func() error { return c.Add(item("new", "x")) })
	is("get of what was added", "new", "x")
	done("set of a number", func() error { return c.Set(item("count", "10")) })
	number("increment", 15, func() (uint64, error) { return c.Increment(name+"count", 5) })
	number("decrement", 12, func() (uint64, error) { return c.Decrement(name+"count", 3) })
	number("decrement below zero", 0, func() (uint64, error) { return c.Decrement(name+"count", 20) })
	equal("get of a number", "0", func() (interface{}, error) {
		got, err := c.Get(name + "count")
		if err != nil {
			return nil, err
		}
		// memcached keeps its length.
		return strings.TrimRight(string(got.Value), " "), nil
	})
	fails("increment of nothing", memcache.ErrCacheMiss, func() error {
		_, err := c.Increment(name+"missing", 1)
		return err
	})
	equal("increment of text", true, func() (interface{}, error) {
		_, err := c.Increment(name+"text", 1)
		return err != nil && strings.Contains(err.Error(), "non-numeric"), nil
	})
	done("compare and swap", func() error {
		got, err := c.Get(name + "new")
		if err != nil {
			return err
		}
		got.Value = []byte("y")
		return c.CompareAndSwap(got)
	})
	is("get of what was swapped", "new", "y")
	fails("compare and swap of an old version", memcache.ErrCASConflict, func() error {
		got, err := c.Get(name + "new")
		if err != nil {
			return err
		}
		if err := c.Set(item("new", "z")); err != nil {
			return err
		}
		got.Value = []byte("y")
		return c.CompareAndSwap(got)
	})
	done("set with a lifetime", func() error {
		brief := item("brief", "x")
		brief.Expiration = 1
		return c.Set(brief)
	})
	done("touch", func() error { return c.Touch(name+"text", 600) })
	fails("touch of nothing", memcache.ErrCacheMiss, func() error { return c.Touch(name+"missing", 600) })
	ends("the end of a lifetime", func() bool {
		_, err := c.Get(name + "brief")
		return err == memcache.ErrCacheMiss
	})
	done("delete", func() error { return c.Delete(name + "text") })
	fails("delete of nothing", memcache.ErrCacheMiss, func() error { return c.Delete(name + "text") })
	missing("get of what was deleted", "text")
	done("delete of many", func() error {
		for _, key := range keys {
			if err := c.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	equal("GetMulti of what was deleted", map[string]string{}, many)
	large := strings.Repeat("0123456789", 90_000)
	done("set of a large value", func() error { return c.Set(item("large", large)) })
	is("get of a large value", "large", large)
	fails("a key that is too long", memcache.ErrMalformedKey, func() error {
		_, err := c.Get(strings.Repeat("k", 251))
		return err
	})
	done("clear", c.FlushAll)
	missing("get after a clear", "bytes")
}

func main() {
	run("gomemcache", connect)
}
