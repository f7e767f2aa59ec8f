"""pylibmc, which is libmemcached: keys are spread over all servers; one that fails is left out."""

import pylibmc

import talk


class Cache:
    def __init__(self, _service, addresses, _name):
        behaviors = {
            "tcp_nodelay": True, "connect_timeout": 1_000, "receive_timeout": 1_000_000, "send_timeout": 1_000_000,
        }
        # A single address, which is a proxy's, must not be left out: there is no other.
        if len(addresses) > 1:
            behaviors |= {"ketama": True, "remove_failed": 1, "retry_timeout": 1, "dead_timeout": 30}
        self.client = pylibmc.Client(addresses, behaviors=behaviors)

    def get(self, key):
        return self.client.get(key)

    def many(self, keys):
        found = self.client.get_multi(keys)
        return [found.get(key) for key in keys]

    def set(self, key, value):
        talk.expect(self.client.set(key, value), "not stored")

    def delete(self, key):
        self.client.delete(key)

    def check(self, checks, name):
        client, equal = self.client, checks.equal
        value = {"list": [1, 2.5, None], "bytes": b"\r\n\0"}
        many = {f"{name}{key}": key for key in range(300)}
        equal("set of text", lambda: client.set(name + "text", "Grüße"), True)
        equal("get of text", lambda: client.get(name + "text"), "Grüße")
        equal("set of an object", lambda: client.set(name + "object", value), True)
        equal("get of an object", lambda: client.get(name + "object"), value)
        equal("get of nothing", lambda: client.get(name + "missing"), None)
        equal("set_multi", lambda: client.set_multi(many), [])
        equal("get_multi", lambda: client.get_multi([*many, name + "missing"]), many)
        equal("add of what is there", lambda: client.add(name + "text", "x"), False)
        equal("add", lambda: client.add(name + "new", "x"), True)
        equal("replace of nothing", lambda: client.replace(name + "none", "x"), False)
        equal("replace", lambda: client.replace(name + "new", "y"), True)
        equal("set of bytes", lambda: client.set(name + "log", b"b"), True)
        equal("append", lambda: client.append(name + "log", b"c"), True)
        equal("prepend", lambda: client.prepend(name + "log", b"a"), True)
        equal("get of what was appended", lambda: client.get(name + "log"), b"abc")
        equal("set of a number", lambda: client.set(name + "count", 10), True)
        equal("incr", lambda: client.incr(name + "count", 5), 15)
        equal("decr below zero", lambda: client.decr(name + "count", 20), 0)
        equal("get of a number", lambda: client.get(name + "count"), 0)
        checks.raises("incr of nothing", pylibmc.NotFound, lambda: client.incr(name + "missing"))
        equal("set of a compressed value", lambda: client.set(name + "zip", "z" * 50_000, min_compress_len=100), True)
        equal("get of a compressed value", lambda: client.get(name + "zip"), "z" * 50_000)
        equal("set with a lifetime", lambda: client.set(name + "brief", "x", time=1), True)
        equal("touch", lambda: client.touch(name + "text", 600), True)
        equal("touch of nothing", lambda: client.touch(name + "missing", 600), False)
        checks.ends("the end of a lifetime", lambda: client.get(name + "brief") is None)
        equal("delete", lambda: client.delete(name + "text"), True)
        equal("delete of nothing", lambda: client.delete(name + "text"), False)
        equal("get of what was deleted", lambda: client.get(name + "text"), None)
        equal("delete_multi", lambda: client.delete_multi(list(many)), True)
        equal("get_multi of what was deleted", lambda: client.get_multi(list(many)), {})
        large = b"0123456789" * 90_000
        equal("set of a large value", lambda: client.set(name + "large", large), True)
        equal("get of a large value", lambda: client.get(name + "large"), large)
        equal("stats", lambda: all("uptime" in figures or b"uptime" in figures for _, figures in client.get_stats()), True)
        equal("clear", lambda: client.flush_all(), True)
        equal("get after a clear", lambda: client.get(name + "object"), None)


talk.run("pylibmc", pylibmc.__version__, Cache)
