"""pymemcache: keys are spread over all servers; one that fails is left out, and the request repeated."""

import pymemcache
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheClientError
from pymemcache.serde import pickle_serde

import talk


def parsed(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


class Cache:
    def __init__(self, _service, addresses, _name):
        self.addresses = [parsed(address) for address in addresses]
        spread = HashClient(
            self.addresses, timeout=1, connect_timeout=1, no_delay=True, default_noreply=False,
            # A single address, which is a proxy's, must not be left out: there is no other.
            retry_attempts=0, dead_timeout=30 if len(addresses) > 1 else 0,
        )
        self.client = RetryingClient(spread, attempts=4, retry_delay=0.02, do_not_retry_for=[MemcacheClientError])

    def get(self, key):
        value = self.client.get(key)
        return None if value is None else value.decode()

    def many(self, keys):
        found = self.client.get_many(keys)
        return [found[key].decode() if key in found else None for key in keys]

    def set(self, key, value):
        talk.expect(self.client.set(key, value), "not stored")

    def delete(self, key):
        self.client.delete(key)

    def check(self, checks, prefix):
        for number, address in enumerate(self.addresses):
            other = self.addresses[(number + 1) % len(self.addresses)]
            self.check_one(checks, f"{prefix}{number}-", address, other)

    def check_one(self, checks, name, address, other):
        def connect(address, **more):
            return Client(address, timeout=10, default_noreply=False, **more)
        client, other = connect(address, serde=pickle_serde), connect(other, serde=pickle_serde)
        plain = connect(address)
        equal = checks.equal
        value = {"list": [1, 2.5, None], "bytes": b"\r\n\0"}
        many = {f"{name}{key}": key for key in range(300)}
        equal("set of text", lambda: client.set(name + "text", "Grüße"), True)
        equal("get of text by another server", lambda: other.get(name + "text"), "Grüße")
        equal("set of an object", lambda: client.set(name + "object", value), True)
        equal("get of an object", lambda: other.get(name + "object"), value)
        equal("get of nothing", lambda: other.get(name + "missing"), None)
        equal("get with a default", lambda: other.get(name + "missing", 3), 3)
        equal("set_many", lambda: client.set_many(many), [])
        equal("get_many", lambda: other.get_many([*many, name + "missing"]), many)
        equal("add of what is there", lambda: client.add(name + "text", "x"), False)
        equal("add", lambda: client.add(name + "new", "x"), True)
        equal("replace of nothing", lambda: client.replace(name + "none", "x"), False)
        equal("replace", lambda: client.replace(name + "new", "y"), True)
        equal("set of bytes", lambda: plain.set(name + "log", b"b"), True)
        equal("append", lambda: plain.append(name + "log", b"c"), True)
        equal("prepend", lambda: plain.prepend(name + "log", b"a"), True)
        equal("get of what was appended", lambda: plain.get(name + "log"), b"abc")
        equal("set of a number", lambda: plain.set(name + "count", b"10"), True)
        equal("incr", lambda: plain.incr(name + "count", 5), 15)
        equal("decr below zero", lambda: plain.decr(name + "count", 20), 0)
        equal("incr of nothing", lambda: plain.incr(name + "missing", 1), None)
        checks.raises("incr of text", MemcacheClientError, lambda: plain.incr(name + "log", 1))
        equal("cas", lambda: plain.cas(name + "count", b"7", plain.gets(name + "count")[1]), True)
        equal("cas of an old version", lambda: plain.cas(name + "count", b"8", b"1"), False)
        equal("cas of nothing", lambda: plain.cas(name + "missing", b"8", b"1"), None)
        equal("set with a lifetime", lambda: client.set(name + "brief", "x", expire=1), True)
        equal("touch", lambda: client.touch(name + "text", expire=600), True)
        equal("touch of nothing", lambda: client.touch(name + "missing", expire=600), False)
        checks.ends("the end of a lifetime", lambda: other.get(name + "brief") is None)
        equal("set of the past", lambda: client.set(name + "gone", "x", expire=-1), True)
        equal("get of the past", lambda: other.get(name + "gone"), None)
        equal("delete", lambda: client.delete(name + "text"), True)
        equal("delete of nothing", lambda: client.delete(name + "text"), False)
        equal("get of what was deleted", lambda: other.get(name + "text"), None)
        equal("delete_many", lambda: client.delete_many(list(many)), True)
        equal("get_many of what was deleted", lambda: other.get_many(list(many)), {})
        large = b"0123456789" * 90_000
        equal("set of a large value", lambda: plain.set(name + "large", large), True)
        equal("get of a large value", lambda: plain.get(name + "large"), large)
        equal("version", lambda: bool(client.version()), True)
        equal("stats", lambda: b"uptime" in client.stats(), True)
        equal("clear", lambda: other.flush_all(), True)
        equal("get after a clear", lambda: client.get(name + "object"), None)


talk.run("pymemcache", pymemcache.__version__, Cache)
