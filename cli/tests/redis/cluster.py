"""redis-py's cluster client against a cluster: cluster.py ADDRESS commands|failover VERSION."""

import sys

from redis.cluster import RedisCluster
from redis.exceptions import WatchError

from client import failover, is_refused, tls


def connect(address, version):
    host, port = address.rsplit(":", 1)
    return RedisCluster(host=host, port=int(port), protocol=version,
                        socket_timeout=5, socket_connect_timeout=5, **tls())


def commands(client):
    nodes = client.get_primaries()
    assert len(nodes) == 8 and not client.get_replicas(), nodes
    client.flushall()
    names = [f"key:{n}" for n in range(500)] + ["{tag}1", "{tag}2", "a{}b", "{}", "}{", b"\x00\r\n\xff{"]
    for name in names:
        assert client.set(name, name)
    for name in names:
        assert client.get(name) == (name if isinstance(name, bytes) else name.encode())
    assert client.mset_nonatomic({f"many:{n}": n for n in range(2_000)})
    wanted = [b"%d" % n for n in range(2_000)]
    assert client.mget_nonatomic([f"many:{n}" for n in range(2_000)]) == wanted
    assert client.delete(*[f"many:{n}" for n in range(2_000)], "none") == 2_000
    assert client.mset({"{t}a": 1, "{t}b": 2}) and client.mget("{t}a", "{t}b") == [b"1", b"2"]
    assert is_refused(lambda: client.incr("{t}x{}", "y"))
    assert client.exists("{t}a", "{t}b", "key:1", "none") == 3 and client.touch("key:1", "key:2") == 2
    assert client.incr("n") == 1 and client.incrby("n", 10) == 11 and client.decr("n", 2) == 9
    assert client.set("n", 1, ex=100, nx=True) is None and client.expire("n", 100)
    assert 99 <= client.ttl("n") <= 100 and client.persist("n") and client.getdel("n") == b"9"
    assert client.append("s", "ab") == 2 and client.strlen("s") == 2 and client.getset("s", "x") == b"ab"
    with client.pipeline() as pipe:
        for n in range(2_000):
            pipe.set(f"x:{n}", n).get(f"x:{n}").incr(f"x:{n}")
        results = pipe.execute()
        assert results[1::3] == [b"%d" % n for n in range(2_000)] and results[2] == 1
    with client.pipeline(transaction=True) as pipe:
        pipe.set("{p}a", 1).incr("{p}a").get("{p}a")
        results = pipe.execute()
        # In a transaction it gives the reply to SET as it comes.
        assert results[1:] == [2, b"2"], results
    watches(client)
    assert client.cluster_keyslot("{user}x") == client.keyslot("user")
    assert client.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_state"] == "ok"
    assert len(client.cluster_nodes()) == 8 and len(client.cluster_shards()) == 8
    for node in nodes:
        info = client.info(target_nodes=node)
        assert info["cluster_enabled"] == 1 and info["redis_mode"] == "cluster"
        assert client.cluster_myid(node)
    walks(client, nodes, len(names) + 2_004)
    assert client.readonly(target_nodes=RedisCluster.ALL_NODES)
    assert client.readwrite(target_nodes=RedisCluster.ALL_NODES)
    client.flushdb()
    assert client.get("key:1") is None
    print("all replies right")


def watches(client):
    """Transactions that watch several keys of one slot."""
    client.set("{p}b", 5)
    with client.pipeline(transaction=True) as pipe:
        pipe.watch("{p}a", "{p}b")
        a, b = int(pipe.get("{p}a")), int(pipe.get("{p}b"))
        pipe.multi()
        pipe.set("{p}a", a - 1).set("{p}b", b + 1).get("{p}b").incr("{p}c")
        assert pipe.execute()[2:] == [b"6", 1]
        pipe.watch("{p}a", "{p}b")
        client.set("{p}b", 7)
        pipe.multi()
        pipe.set("{p}a", 9)
        try:
            pipe.execute()
            raise AssertionError("a watched key has changed")
        except WatchError:
            pass
    assert client.mget("{p}a", "{p}b") == [b"1", b"7"] and client.delete("{p}b", "{p}c") == 2


def walks(client, nodes, number):
    """Each node names its own keys, and all together each key once."""
    # By default the client asks one node only.
    everywhere = RedisCluster.PRIMARIES
    assert client.dbsize(target_nodes=everywhere) == number
    names = client.keys(target_nodes=everywhere)
    assert len(names) == number
    found = list(client.scan_iter(count=100))
    assert len(found) == number and set(found) == set(names)
    assert all(client.get(name) is not None for name in found[::50])
    for node in nodes:
        own = client.keys(target_nodes=node)
        assert own and client.dbsize(target_nodes=node) == len(own) == len(set(own))
        assert all(client.get_node_from_key(name) == node for name in own)
        assert client.randomkey(target_nodes=node) in own
    slot = client.keyslot("t")
    assert client.cluster_countkeysinslot(slot) == 2
    assert sorted(client.cluster_get_keys_in_slot(slot, 10)) in ([b"{t}a", b"{t}b"], ["{t}a", "{t}b"])
    assert len(client.cluster_get_keys_in_slot(slot, 1)) == 1
    by_slot = sum(client.cluster_countkeysinslot(client.keyslot(name)) > 0 for name in found[:20])
    assert by_slot == 20


if __name__ == "__main__":
    if sys.argv[2] == "commands":
        commands(connect(sys.argv[1], int(sys.argv[3])))
    else:
        failover(lambda: connect(sys.argv[1], int(sys.argv[3])))
