"""Through a proxy, at an address or the path of a socket: client.py memcached|redis PLACE [commands].

With `commands`, redis-py does what caches do. Otherwise it is load with a checker, of clients that do not
retry, and lines of standard input are answered as `drive` says in common/checker.py.
"""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from checker import Checker, drive
from redis_checks import pipelines


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
    pipelines(client)
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


def checker(protocol, place, number):
    write, read = connect(protocol, place)
    return Checker(f"{protocol}-{len(place)}-{number}-", write, read)


def main(protocol, place):
    drive([checker(protocol, place, number) for number in range(3)], reads=100)


if __name__ == "__main__":
    if sys.argv[3:] == ["commands"]:
        commands(redis_client(sys.argv[2]))
    else:
        main(sys.argv[1], sys.argv[2])
