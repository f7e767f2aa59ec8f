"""Drives pymemcache against a cluster: what a framework's cache does, and load with a checker.

client.py operations ADDRESS,…
client.py load ADDRESS,…

With `load`, lines of standard input are answered as `drive` says in common/checker.py.
"""

import os
import ssl
import sys
import time

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheClientError
from pymemcache.serde import pickle_serde

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from checker import Checker, drive


def tls():
    """The context of TLS, if the test asks for it."""
    authority = os.environ.get("STANDIN_TEST_AUTHORITY")
    return ssl.create_default_context(cafile=authority) if authority else None


def parsed(addresses):
    pairs = [address.rsplit(":", 1) for address in addresses.split(",")]
    return [(host, int(port)) for host, port in pairs]


def equal(got, wanted, what):
    if got != wanted:
        sys.exit(f"{what}: {got!r}, expected {wanted!r}")


def operations(addresses):
    clients = [Client(address, serde=pickle_serde, timeout=10, default_noreply=False, tls_context=tls()) for address in addresses]
    for number, client in enumerate(clients):
        other = clients[(number + 1) % len(clients)]
        plain = Client(addresses[number], timeout=10, default_noreply=False, tls_context=tls())
        name = f"c{number}-"
        equal(client.set(name + "text", "Grüße"), True, "set")
        equal(other.get(name + "text"), "Grüße", "get of text")
        value = {"list": [1, 2.5, None], "bytes": b"\r\n\0"}
        equal(client.set(name + "object", value), True, "set of an object")
        equal(other.get(name + "object"), value, "get of an object")
        equal(other.get(name + "missing"), None, "get of nothing")
        equal(other.get(name + "missing", 3), 3, "get with a default")
        many = {f"{name}{key}": key for key in range(300)}
        equal(client.set_many(many, noreply=False), [], "set_many")
        equal(other.get_many(list(many) + [name + "missing"]), many, "get_many")
        equal(client.add(name + "text", "x", noreply=False), False, "add of what is there")
        equal(client.add(name + "new", "x", noreply=False), True, "add")
        equal(client.replace(name + "none", "x", noreply=False), False, "replace of nothing")
        equal(client.replace(name + "new", "y", noreply=False), True, "replace")
        equal(plain.set(name + "log", b"b"), True, "set of bytes")
        equal(plain.append(name + "log", b"c", noreply=False), True, "append")
        equal(plain.prepend(name + "log", b"a", noreply=False), True, "prepend")
        equal(plain.get(name + "log"), b"abc", "append and prepend")
        equal(plain.set(name + "count", b"10"), True, "set of a number")
        equal(plain.incr(name + "count", 5), 15, "incr")
        equal(plain.decr(name + "count", 20), 0, "decr below zero")
        equal(plain.incr(name + "missing", 1), None, "incr of nothing")
        try:
            plain.incr(name + "log", 1)
            sys.exit("incr of text did not fail")
        except MemcacheClientError:
            pass
        value, version = plain.gets(name + "count")
        equal(plain.cas(name + "count", b"7", version), True, "cas")
        equal(plain.cas(name + "count", b"8", version), False, "cas of an old version")
        equal(plain.cas(name + "missing", b"8", version), None, "cas of nothing")
        equal(client.set(name + "brief", "x", expire=1, noreply=False), True, "set with a lifetime")
        equal(client.touch(name + "text", expire=600, noreply=False), True, "touch")
        equal(client.touch(name + "missing", expire=600, noreply=False), False, "touch of nothing")
        deadline = time.monotonic() + 20
        while other.get(name + "brief") is not None:
            if time.monotonic() > deadline:
                sys.exit("a lifetime of one second does not end")
            time.sleep(0.05)
        equal(client.set(name + "gone", "x", expire=-1, noreply=False), True, "set of the past")
        equal(other.get(name + "gone"), None, "get of the past")
        equal(client.delete(name + "text", noreply=False), True, "delete")
        equal(client.delete(name + "text", noreply=False), False, "delete of nothing")
        equal(other.get(name + "text"), None, "get of what was deleted")
        equal(client.delete_many(list(many), noreply=False), True, "delete_many")
        equal(other.get_many(list(many)), {}, "get_many of what was deleted")
        large = os.urandom(900_000)
        equal(plain.set(name + "large", large, noreply=False), True, "set of a large value")
        equal(plain.get(name + "large"), large, "get of a large value")
        if not client.version() or b"uptime" not in client.stats():
            sys.exit("version or stats")
        equal(other.flush_all(noreply=False), True, "flush_all")
        equal(client.get(name + "object"), None, "get after a flush")
    print("all operations are right")


def patient(addresses):
    # A server that does not answer is dropped, and another is asked: each reaches all keys.
    spread = HashClient(
        addresses, timeout=10, connect_timeout=2, retry_attempts=1, retry_timeout=0.1, dead_timeout=1,
        tls_context=tls(),
    )
    return RetryingClient(spread, attempts=20, retry_delay=0.1)


def checker(number, client):
    def write(key, value):
        return client.set(key, value, noreply=False)

    return Checker(f"load-{number}-", write, client.get, stride=1, may_drop=True)


def load(addresses):
    drive([checker(number, patient(addresses)) for number in range(4)], reads=200)


if __name__ == "__main__":
    if sys.argv[1] == "operations":
        operations(parsed(sys.argv[2]))
    else:
        load(parsed(sys.argv[2]))
