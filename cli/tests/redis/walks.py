"""redis-py's walks through the keys of a cluster: walks.py ADDRESS,ADDRESS,... VERSION."""

import sys

from client import connect


def check(clients):
    for client in clients:
        client.flushall()
        assert client.dbsize() == 0 and client.keys() == [] and client.randomkey() is None
    # Each server sets a part of them, whoever caches it.
    names = {b"x:%d" % n for n in range(4_000)} | {b"users:%d" % n for n in range(1_000)}
    for part, client in enumerate(clients):
        mine = sorted(names)[part::len(clients)]
        assert client.mset({name: b"v" for name in mine})
    for client in clients:
        assert client.dbsize() == len(names)
        for count in (10, 1_000):
            found = list(client.scan_iter(count=count))
            assert len(found) == len(set(found)) and set(found) == names, (len(found), count)
        found = list(client.scan_iter(match="users:*", count=200))
        assert sorted(found) == sorted(name for name in names if name.startswith(b"users:"))
        found = client.keys("x:*7")
        assert sorted(found) == sorted(name for name in names if name[:2] == b"x:" and name.endswith(b"7"))
        assert sorted(client.keys()) == sorted(names)
        assert client.randomkey() in names
        assert list(client.scan_iter(_type="list")) == [] and client.keys("nothing*") == []
    # What has gone, or has no value any more, is not named.
    assert clients[0].delete(*[name for name in names if name.startswith(b"users:")]) == 1_000
    assert clients[0].set("short", "x", px=1) and clients[0].get("none") is None
    while clients[0].get("short"):
        pass
    for client in clients:
        assert client.dbsize() == 4_000 and len(client.keys()) == 4_000
        assert sum(1 for _ in client.scan_iter(count=500)) == 4_000
    clients[-1].flushdb()
    for client in clients:
        assert client.dbsize() == 0 and list(client.scan_iter()) == []
    print("all keys found")


if __name__ == "__main__":
    check([connect(address, int(sys.argv[2])) for address in sys.argv[1].split(",")])
