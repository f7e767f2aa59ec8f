"""Through a proxy, at an address or the path of a socket: client.py memcached|redis PLACE [commands].

With `commands`, redis-py does what caches do. Otherwise it is load with a checker, of clients that do not
retry: for each line of standard input the script answers after a number of further
reads; when the input ends, it says what it has counted.
"""

import sys
import threading
import time


def redis_client(place):
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    more = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 20, "protocol": 3}
    if place.startswith("/"):
        return redis.Redis(unix_socket_path=place, **more)
    host, port = place.rsplit(":", 1)
    return redis.Redis(host=host, port=int(port), **more)


def commands(client):
    client.flushall()
    assert client.set("a", b"\x00\r\n\xff") and client.get("a") == b"\x00\r\n\xff"
    assert client.set("a", "1", ex=100, nx=True) is None and client.set("b", "2", px=100_000)
    assert 99 <= client.ttl("b") <= 100 and client.ttl("a") == -1 and client.ttl("none") == -2
    many = {f"many:{n}": n for n in range(2_000)}
    assert client.mset(many) and client.mget(list(many)) == [b"%d" % n for n in range(2_000)]
    assert client.delete(*many, "none") == 2_000 and client.exists("b", "none") == 1
    assert client.incr("n") == 1 and client.incrby("n", 10) == 11 and client.decr("n", 2) == 9
    assert client.expire("n", 100) and client.persist("n") and client.getdel("n") == b"9"
    assert client.append("b", "34") == 3 and client.getrange("b", 1, -1) == b"34"
    with client.pipeline(transaction=True) as pipe:
        pipe.mset({"p": 1, "q": 2}).expire("p", 100).get("q").incr("q")
        assert pipe.execute() == [True, True, b"2", 3]
    with client.pipeline(transaction=False) as pipe:
        for n in range(5_000):
            pipe.set(f"x:{n}", n).get(f"x:{n}")
        assert pipe.execute()[1::2] == [b"%d" % n for n in range(5_000)]
    big = b"x" * (1 << 20)
    assert client.set("big", big) and client.get("big") == big
    assert client.info()["redis_mode"] == "standalone"
    assert client.flushall() and client.get("big") is None
    print("all replies right")


def connect(protocol, place):
    if protocol == "memcached":
        from pymemcache.client.base import Client

        server = place
        if not place.startswith("/"):
            host, port = place.rsplit(":", 1)
            server = (host, int(port))
        client = Client(server, timeout=20, connect_timeout=20, default_noreply=False)
        return client.set, client.get
    client = redis_client(place)
    return client.set, client.get


class Checker(threading.Thread):
    """Writes rising numbers under keys of its own, and reads them: a lower one is stale."""

    def __init__(self, protocol, place, name, ends):
        super().__init__(daemon=True)
        self.set, self.get = connect(protocol, place)
        self.prefix, self.ends = f"{protocol}-{len(place)}-{name}", ends
        self.reads = self.writes = self.misses = self.stale = self.failed = 0
        self.slowest, self.errors = 0.0, []

    def attempt(self, work, *arguments):
        begun = time.monotonic()
        try:
            return work(*arguments)
        except Exception as error:
            self.failed += 1
            self.errors.append(repr(error))
            return error
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def run(self):
        # The last number that was acknowledged, and the last that was sent.
        known, sent = {}, {}
        number = 0
        while not self.ends.is_set():
            number += 1
            key = f"{self.prefix}-{number % 64}"
            sent[key] = number
            if not isinstance(self.attempt(self.set, key, str(number)), Exception):
                known[key] = number
            self.writes += 1
            other = f"{self.prefix}-{(number * 7) % 64}"
            value = self.attempt(self.get, other)
            self.reads += 1
            if isinstance(value, Exception):
                continue
            if value is None:
                self.misses += 1
            elif not known.get(other, 0) <= int(value) <= sent.get(other, 0):
                self.stale += 1
                self.errors.append(f"{other}: {value}, known {known.get(other)}")


def main(protocol, place):
    ends = threading.Event()
    checkers = [Checker(protocol, place, n, ends) for n in range(3)]
    for checker in checkers:
        checker.start()
    for line in sys.stdin:
        begun = sum(checker.reads for checker in checkers)
        while (reads := sum(checker.reads for checker in checkers)) < begun + 300:
            time.sleep(0.005)
        print(f"{line.strip()} before read {reads}", flush=True)
    ends.set()
    for checker in checkers:
        checker.join()
    total = {name: sum(getattr(checker, name) for checker in checkers)
             for name in ("reads", "writes", "misses", "stale", "failed")}
    slowest = max(checker.slowest for checker in checkers)
    print("reads {reads}, writes {writes}, misses {misses}, stale {stale}, failed {failed}".format(**total)
          + f", slowest {slowest * 1_000:.0f} ms")
    for checker in checkers:
        for error in checker.errors[:5]:
            print(error)


if __name__ == "__main__":
    if sys.argv[3:] == ["commands"]:
        commands(redis_client(sys.argv[2]))
    else:
        main(sys.argv[1], sys.argv[2])
