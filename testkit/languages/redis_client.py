"""redis-py: one server at a time, by a host name that has the addresses of several, or as a cluster."""

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

import talk


class Cache:
    def __init__(self, service, addresses, name):
        options = {"socket_timeout": 1, "socket_connect_timeout": 1, "decode_responses": True}
        if service == "redis-cluster":
            nodes = [redis.cluster.ClusterNode(*address.rsplit(":", 1)) for address in addresses]
            self.client = redis.RedisCluster(startup_nodes=nodes, **options)
        else:
            host, port = name.rsplit(":", 1)
            retry = Retry(ExponentialBackoff(cap=0.1, base=0.01), 5)
            self.client = redis.Redis(host=host, port=int(port), retry=retry, **options)
        self.is_cluster = service == "redis-cluster"

    def get(self, key):
        return self.client.get(key)

    def many(self, keys):
        return self.client.mget_nonatomic(keys) if self.is_cluster else self.client.mget(keys)

    def set(self, key, value):
        self.client.set(key, value)

    def delete(self, key):
        self.client.delete(key)

    def check(self, checks, prefix):
        # Keys with this tag are in one slot, so that they may be in one command of a cluster.
        name = f"{{{prefix}}}"
        client, equal = self.client, checks.equal
        many = {f"{name}{key}": str(key) for key in range(300)}
        equal("set of text", lambda: client.set(name + "text", "Grüße"), True)
        equal("get of text", lambda: client.get(name + "text"), "Grüße")
        equal("get of nothing", lambda: client.get(name + "missing"), None)
        equal("mset", lambda: client.mset(many), True)
        equal("mget", lambda: client.mget([*many, name + "missing"]), [*many.values(), None])
        equal("set nx of what is there", lambda: client.set(name + "text", "x", nx=True), None)
        equal("set nx", lambda: client.set(name + "new", "x", nx=True, ex=100), True)
        equal("setnx", lambda: client.setnx(name + "new", "x"), False)
        equal("set xx of nothing", lambda: client.set(name + "none", "x", xx=True), None)
        equal("set with get", lambda: client.set(name + "new", "y", get=True), "x")
        equal("getset", lambda: client.getset(name + "new", "z"), "y")
        equal("append", lambda: client.append(name + "new", "ab"), 3)
        equal("getrange", lambda: client.getrange(name + "new", 1, -1), "ab")
        equal("setrange", lambda: client.setrange(name + "new", 1, "!"), 3)
        equal("strlen", lambda: client.strlen(name + "new"), 3)
        equal("incr", lambda: client.incr(name + "count", 5), 5)
        equal("decr", lambda: client.decr(name + "count", 7), -2)
        equal("incrbyfloat", lambda: client.incrbyfloat(name + "float", 1.5), 1.5)
        checks.raises("incr of text", redis.ResponseError, lambda: client.incr(name + "text"))
        equal("exists", lambda: client.exists(name + "text", name + "missing"), 1)
        equal("expire", lambda: client.expire(name + "text", 600), True)
        equal("ttl", lambda: 590 <= client.ttl(name + "text") <= 600, True)
        equal("persist", lambda: client.persist(name + "text"), True)
        equal("ttl without an end", lambda: client.ttl(name + "text"), -1)
        equal("getex", lambda: client.getex(name + "text", ex=600), "Grüße")
        equal("expire of nothing", lambda: client.expire(name + "missing", 600), False)
        equal("touch", lambda: client.touch(name + "text"), 1)
        equal("set with a lifetime", lambda: client.set(name + "brief", "x", ex=1), True)
        equal("type", lambda: (client.type(name + "text"), client.type(name + "missing")), ("string", "none"))

        def transaction():
            with client.pipeline(transaction=True) as pipe:
                pipe.set(name + "p", 1).expire(name + "p", 100).incr(name + "p").get(name + "p")
                return pipe.execute()

        def pipeline():
            with client.pipeline(transaction=False) as pipe:
                for number in range(500):
                    pipe.set(f"{name}x{number}", number).get(f"{name}x{number}")
                return pipe.execute()[1::2]

        # The cluster's client gives the replies of a transaction as they come.
        equal("transaction", transaction, ["OK", 1, 2, "2"] if self.is_cluster else [True, True, 2, "2"])
        equal("pipeline", pipeline, [str(number) for number in range(500)])
        checks.ends("the end of a lifetime", lambda: client.get(name + "brief") is None)
        equal("getdel", lambda: client.getdel(name + "p"), "2")
        equal("delete", lambda: client.delete(name + "text"), 1)
        equal("delete of nothing", lambda: client.delete(name + "text"), 0)
        equal("unlink of many", lambda: client.unlink(*many), 300)
        equal("mget of what was deleted", lambda: client.mget(list(many)), [None] * 300)
        large = "0123456789" * 90_000
        equal("set of a large value", lambda: client.set(name + "large", large), True)
        equal("get of a large value", lambda: client.get(name + "large"), large)
        equal("ping", lambda: client.ping(), True)

        def clear():
            cleared = client.flushall()
            return all(cleared.values()) if self.is_cluster else cleared

        equal("clear", clear, True)
        equal("get after a clear", lambda: client.get(name + "new"), None)


talk.run("redis-py", redis.__version__, Cache)
