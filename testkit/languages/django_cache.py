"""Django's cache, with its backends for pymemcache and for Redis."""

import django
from django.conf import settings
from django.core.cache import caches

import talk

MEMCACHED = {
    "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
    "OPTIONS": {"timeout": 1, "connect_timeout": 1, "no_delay": True, "retry_attempts": 0, "dead_timeout": 30},
}


def redis(name):
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    # One URL, whose host name has the addresses of several servers: of several URLs, Django's backend
    # writes to the first only.
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://{name}",
        "OPTIONS": {
            "socket_timeout": 1, "socket_connect_timeout": 1,
            "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), 5),
        },
    }


class Cache:
    memcached = MEMCACHED

    def __init__(self, service, addresses, name):
        default = redis(name) if service == "redis" else {**self.memcached, "LOCATION": addresses}
        # A single address, which is a proxy's, must not be left out: there is no other.
        if service == "memcached" and len(addresses) == 1:
            default["OPTIONS"] = {**default["OPTIONS"], "dead_timeout": 0}
        settings.configure(CACHES={"default": default}, USE_TZ=True)
        django.setup()
        self.cache = caches["default"]

    def get(self, key):
        return self.cache.get(key)

    def many(self, keys):
        found = self.cache.get_many(keys)
        return [found.get(key) for key in keys]

    def set(self, key, value):
        # The backend for memcached hides a failure. Then it has tried to delete the key.
        self.cache.set(key, value, None)

    def delete(self, key):
        self.cache.delete(key)

    def check(self, checks, name):
        cache, equal = self.cache, checks.equal
        value = {"list": [1, 2.5, None], "bytes": b"\r\n\0"}
        many = {f"{name}{key}": key for key in range(300)}
        equal("set of text", lambda: cache.set(name + "text", "Grüße"), None)
        equal("get of text", lambda: cache.get(name + "text"), "Grüße")
        equal("set of an object", lambda: cache.set(name + "object", value), None)
        equal("get of an object", lambda: cache.get(name + "object"), value)
        equal("get of nothing", lambda: cache.get(name + "missing"), None)
        equal("get with a default", lambda: cache.get(name + "missing", 3), 3)
        equal("set of None", lambda: cache.set(name + "none", None), None)
        equal("get of None", lambda: cache.get(name + "none", 3), None)
        equal("set of a boolean", lambda: cache.set(name + "true", True), None)
        equal("get of a boolean", lambda: cache.get(name + "true") is True, True)
        equal("has_key", lambda: (name + "text" in cache, name + "missing" in cache), (True, False))
        equal("set_many", lambda: cache.set_many(many), [])
        equal("get_many", lambda: cache.get_many([*many, name + "missing"]), many)
        equal("set_many with a lifetime", lambda: cache.set_many({name + "m1": 1, name + "m2": 2}, 600), [])
        equal("set_many without an end", lambda: cache.set_many({name + "m3": 3}, None), [])
        lasting = {name + "m1": 1, name + "m2": 2, name + "m3": 3}
        equal("get_many with lifetimes", lambda: cache.get_many(list(lasting)), lasting)
        equal("add of what is there", lambda: cache.add(name + "text", "x"), False)
        equal("add", lambda: cache.add(name + "new", "x"), True)
        equal("add with timeout 0", lambda: cache.add(name + "ended", "x", 0), True)
        equal("get of what was added with timeout 0", lambda: cache.get(name + "ended"), None)
        equal("get_or_set", lambda: cache.get_or_set(name + "lazy", lambda: "made", 100), "made")
        equal("get_or_set of what is there", lambda: cache.get_or_set(name + "lazy", "other", 100), "made")
        equal("set of a number", lambda: cache.set(name + "count", 10), None)
        equal("incr", lambda: cache.incr(name + "count"), 11)
        equal("incr by more", lambda: cache.incr(name + "count", 9), 20)
        equal("decr", lambda: cache.decr(name + "count", 5), 15)
        equal("get of a number", lambda: cache.get(name + "count"), 15)
        checks.raises("incr of nothing", ValueError, lambda: cache.incr(name + "missing"))
        checks.raises("decr of nothing", ValueError, lambda: cache.decr(name + "missing"))
        equal("set of another version", lambda: cache.set(name + "text", "two", version=2), None)
        equal("get of versions", lambda: (cache.get(name + "text"), cache.get(name + "text", version=2)), ("Grüße", "two"))
        equal("incr_version", lambda: cache.incr_version(name + "new"), 2)
        equal("get after incr_version", lambda: (cache.get(name + "new"), cache.get(name + "new", version=2)), (None, "x"))
        checks.raises("incr_version of nothing", ValueError, lambda: cache.incr_version(name + "missing"))
        equal("set without an end", lambda: cache.set(name + "forever", "x", None), None)
        equal("get of what has no end", lambda: cache.get(name + "forever"), "x")
        equal("set with timeout 0", lambda: cache.set(name + "text0", "x", 0), None)
        equal("get of what was set with timeout 0", lambda: cache.get(name + "text0"), None)
        equal("set of the past", lambda: cache.set(name + "past", "x", -5), None)
        equal("get of the past", lambda: cache.get(name + "past"), None)
        equal("set with a lifetime", lambda: cache.set(name + "brief", "x", 1), None)
        equal("set for more than 30 days", lambda: cache.set(name + "month", "x", 60 * 60 * 24 * 40), None)
        equal("get of a long lifetime", lambda: cache.get(name + "month"), "x")
        equal("touch", lambda: cache.touch(name + "text", 600), True)
        equal("touch without an end", lambda: cache.touch(name + "text", None), True)
        equal("touch of nothing", lambda: cache.touch(name + "missing", 600), False)
        checks.ends("the end of a lifetime", lambda: cache.get(name + "brief") is None)
        equal("touch with timeout 0", lambda: cache.touch(name + "month", 0), True)
        equal("get of what was touched with timeout 0", lambda: cache.get(name + "month"), None)
        equal("delete", lambda: cache.delete(name + "text"), True)
        equal("delete of nothing", lambda: cache.delete(name + "text"), False)
        equal("delete of another version", lambda: cache.delete(name + "text", version=2), True)
        equal("delete_many", lambda: cache.delete_many(list(many)), None)
        equal("get_many of what was deleted", lambda: cache.get_many(list(many)), {})
        large = "0123456789" * 90_000
        equal("set of a large value", lambda: cache.set(name + "large", large), None)
        equal("get of a large value", lambda: cache.get(name + "large"), large)
        equal("clear", lambda: cache.clear() in (None, True), True)
        equal("get after a clear", lambda: cache.get(name + "object"), None)


if __name__ == "__main__":
    talk.run("Django", django.__version__, Cache)
