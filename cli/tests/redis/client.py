"""redis-py against a cluster: client.py ADDRESS commands|passwords|failover VERSION."""

import os
import sys
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from checker import Checker, drive
from redis_checks import pipelines


def connect(address, version, **others):
    host, port = address.rsplit(":", 1)
    retry = Retry(ExponentialBackoff(cap=0.1, base=0.005), 5)
    return redis.Redis(host=host, port=int(port), protocol=version, retry=retry,
                       socket_timeout=5, socket_connect_timeout=5, **others)


def is_refused(work):
    try:
        work()
    except redis.ResponseError:
        return True
    return False


def commands(client):
    client.flushall()
    assert client.ping()
    assert client.set("a", b"\x00\r\n\xff") and client.get("a") == b"\x00\r\n\xff"
    assert client.get("none") is None
    assert client.set("a", "1", ex=100, nx=True) is None and client.set("b", "2", px=100_000)
    assert 99 <= client.ttl("b") <= 100 and client.ttl("a") == -1 and client.ttl("none") == -2
    assert client.setnx("b", "x") == 0 and client.setex("c", 100, "3")
    assert client.mset({"d": 4, "e": 5}) and client.mget("d", "none", "e") == [b"4", None, b"5"]
    assert client.mset({f"many:{n}": n for n in range(2_000)})
    assert client.mget([f"many:{n}" for n in range(2_000)]) == [b"%d" % n for n in range(2_000)]
    assert client.delete(*[f"many:{n}" for n in range(2_000)], "none") == 2_000
    assert client.incr("n") == 1 and client.incrby("n", 10) == 11 and client.decr("n", 2) == 9
    assert float(client.incrbyfloat("n", 0.5)) == 9.5
    assert is_refused(lambda: client.incr("a"))
    assert client.expire("n", 100) and client.persist("n") and not client.expire("none", 5)
    assert client.getdel("n") == b"9.5" and client.getdel("n") is None
    assert client.getex("c", ex=50) == b"3" and 49 <= client.ttl("c") <= 50
    assert client.getset("c", "4") == b"3" and client.append("c", "56") == 3
    assert client.getrange("c", 1, -1) == b"56" and client.setrange("c", 1, "x") == 3
    assert client.strlen("c") == 3 and client.exists("c", "d", "none") == 2
    assert client.touch("c", "none") == 1 and client.unlink("c") == 1
    assert client.type("d") == b"string" and client.object("encoding", "d") == b"int"
    pipelines(client)
    names = {b"x:%d" % n for n in range(5_000)}
    # Four servers, of which this one has cached its own part.
    mine = list(client.scan_iter(match="x:*", count=100))
    assert len(mine) == len(set(mine)) and set(mine) <= names and len(mine) > 500
    assert set(client.keys("x:*")) == set(mine)
    assert client.randomkey() in set(client.keys("*"))
    assert list(client.scan_iter(_type="list")) == [] and client.keys("nothing*") == []
    info = client.info()
    assert info["redis_mode"] == "standalone" and "standin_version" in info
    # The counters of a server are a moment old.
    deadline = time.monotonic() + 20
    while client.dbsize() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.config_get("save") == {"save": ""}
    assert client.command_count() > 60 and "get" in client.command()
    assert client.client_id() > 0 and client.client_setname("me") and client.client_getname() in ("me", b"me")
    assert is_refused(lambda: client.hset("h", "f", "v"))
    assert is_refused(lambda: client.eval("return 1", 0))
    big = b"x" * (1 << 17)
    assert client.set("big", big) and client.get("big") == big
    assert is_refused(lambda: client.set("big", big * 16)) and client.get("big") == big
    client.flushdb()
    assert client.get("a") is None
    print("all replies right")


def passwords(address, version):
    for right in ({"password": "secret"}, {"username": "ann", "password": "hers"}):
        client = connect(address, version, **right)
        assert client.set("secret", "x") and client.get("secret") == b"x"
    for wrong in ({}, {"password": "hers"}, {"username": "ann", "password": "secret"}):
        try:
            connect(address, version, **wrong).get("secret")
            raise AssertionError(f"admitted with {wrong}")
        except redis.AuthenticationError:
            pass
    print("only with a password")


def failover(connected):
    clients = [connected() for _ in range(4)]
    drive([Checker(f"t{n}:", client.set, client.get) for n, client in enumerate(clients)], reads=200)


if __name__ == "__main__":
    if sys.argv[2] == "commands":
        commands(connect(sys.argv[1], int(sys.argv[3])))
    elif sys.argv[2] == "passwords":
        passwords(sys.argv[1], int(sys.argv[3]))
    else:
        failover(lambda: connect(sys.argv[1], int(sys.argv[3])))
