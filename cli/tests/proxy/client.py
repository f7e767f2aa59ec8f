"""Load through a proxy with a checker: client.py memcached|redis PLACE, an address or the path of a socket.

The clients do not retry. For each line of standard input the script answers after a number of further
reads; when the input ends, it says what it has counted.
"""

import sys
import threading
import time


def connect(protocol, place):
    if protocol == "memcached":
        from pymemcache.client.base import Client

        server = place
        if not place.startswith("/"):
            host, port = place.rsplit(":", 1)
            server = (host, int(port))
        client = Client(server, timeout=20, connect_timeout=20, default_noreply=False)
        return client.set, client.get
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    more = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 20, "protocol": 3}
    if place.startswith("/"):
        client = redis.Redis(unix_socket_path=place, **more)
    else:
        host, port = place.rsplit(":", 1)
        client = redis.Redis(host=host, port=int(port), **more)
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
    main(sys.argv[1], sys.argv[2])
