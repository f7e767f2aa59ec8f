"""Django's cache on pymemcache, with a backend of its own that repeats requests."""

import django
from django.core.cache.backends.memcached import PyMemcacheCache
from django.utils.functional import cached_property

import django_cache
import talk


class RetryingCache(PyMemcacheCache):
    @cached_property
    def _cache(self):
        from pymemcache.client.retrying import RetryingClient
        from pymemcache.exceptions import MemcacheClientError

        inner = self._class(self.client_servers, **self._options)
        return RetryingClient(inner, attempts=4, retry_delay=0.02, do_not_retry_for=[MemcacheClientError])


class Cache(django_cache.Cache):
    memcached = {**django_cache.MEMCACHED, "BACKEND": f"{RetryingCache.__module__}.RetryingCache"}


if __name__ == "__main__":
    talk.run("Django", django.__version__, Cache)
