<?php
// Laravel's cache, with its stores for the extensions memcached and redis.

require __DIR__ . '/talk.php';
require 'Illuminate/Cache/autoload.php';
require 'Illuminate/Redis/autoload.php';

use Illuminate\Cache\MemcachedConnector;
use Illuminate\Cache\MemcachedStore;
use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Redis\RedisManager;

class Cache
{
    private Repository $cache;
    /** The extension behind the cache, if it is memcached: the store does not tell a failure from a miss. */
    private ?Memcached $memcached = null;

    public function __construct(string $service, array $addresses, array $name)
    {
        // What config/cache.php and config/database.php have.
        if ($service === 'memcached') {
            $servers = array_map(fn ($at) => ['host' => $at[0], 'port' => $at[1], 'weight' => 100], $addresses);
            $options = [
                Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
                Memcached::OPT_SERVER_FAILURE_LIMIT => 1,
                Memcached::OPT_REMOVE_FAILED_SERVERS => true,
                Memcached::OPT_RETRY_TIMEOUT => 1,
                Memcached::OPT_DEAD_TIMEOUT => 30,
                Memcached::OPT_TCP_NODELAY => true,
                Memcached::OPT_CONNECT_TIMEOUT => 1_000,
                Memcached::OPT_RECV_TIMEOUT => 1_000_000,
                Memcached::OPT_SEND_TIMEOUT => 1_000_000,
            ];
            $this->memcached = (new MemcachedConnector())->connect($servers, null, $options);
            $store = new MemcachedStore($this->memcached, '');
        } else {
            $manager = new RedisManager(null, 'phpredis', ['options' => ['prefix' => ''], 'default' => [
                'host' => $name[0], 'port' => $name[1], 'database' => 0, 'timeout' => 1.0, 'read_timeout' => 1.0,
                'retry_interval' => 20,
            ]]);
            $store = new RedisStore($manager, '');
        }
        $this->cache = new Repository($store);
    }

    private function answered(): void
    {
        $code = $this->memcached?->getResultCode() ?? Memcached::RES_SUCCESS;
        $isAnswer = $code === Memcached::RES_SUCCESS || $code === Memcached::RES_NOTFOUND;
        expect($isAnswer, (string) $this->memcached?->getResultMessage());
    }

    public function get(string $key): ?string
    {
        $value = $this->cache->get($key);
        $this->answered();
        return $value;
    }

    public function many(array $keys): array
    {
        $values = array_values($this->cache->many($keys));
        $this->answered();
        return $values;
    }

    public function set(string $key, string $value): void
    {
        expect($this->cache->forever($key, $value), 'not stored');
    }

    public function delete(string $key): void
    {
        $this->cache->forget($key);
        $this->answered();
    }

    public function check(string $name): void
    {
        $cache = $this->cache;
        $many = [];
        for ($number = 0; $number < 300; $number++) {
            $many[$name . $number] = "value $number";
        }
        $object = ['list' => [1, 2.5, null], 'bytes' => "\r\n\0"];
        equal('put of text', fn () => $cache->put($name . 'text', 'Grüße', 600), true);
        equal('get of text', fn () => $cache->get($name . 'text'), 'Grüße');
        equal('put of an array', fn () => $cache->put($name . 'object', $object, 600), true);
        equal('get of an array', fn () => $cache->get($name . 'object'), $object);
        equal('get of nothing', fn () => $cache->get($name . 'missing'), null);
        equal('get with a default', fn () => $cache->get($name . 'missing', 3), 3);
        equal('has', fn () => [$cache->has($name . 'text'), $cache->has($name . 'missing')], [true, false]);
        equal('putMany', fn () => $cache->putMany($many, 600), true);
        equal('many', fn () => $cache->many(array_keys($many)) === $many, true);
        equal('putMany without an end', fn () => $cache->putMany([$name . 'e1' => 'a', $name . 'e2' => 'b']), true);
        equal('many with nothing', fn () => array_values($cache->many([$name . 'e1', $name . 'no', $name . 'e2'])), ['a', null, 'b']);
        equal('add of what is there', fn () => $cache->add($name . 'text', 'x', 100), false);
        equal('add', fn () => $cache->add($name . 'new', 'x', 100), true);
        equal('remember', fn () => $cache->remember($name . 'lazy', 100, fn () => 'made'), 'made');
        equal('remember of what is there', fn () => $cache->remember($name . 'lazy', 100, fn () => 'other'), 'made');
        equal('forever', fn () => $cache->forever($name . 'count', 10), true);
        equal('increment', fn () => (int) $cache->increment($name . 'count', 5), 15);
        equal('decrement', fn () => (int) $cache->decrement($name . 'count', 7), 8);
        equal('get of a number', fn () => (int) $cache->get($name . 'count'), 8);
        equal('pull', fn () => [$cache->pull($name . 'lazy'), $cache->get($name . 'lazy')], ['made', null]);
        equal('put with a lifetime', fn () => $cache->put($name . 'brief', 'x', 1), true);
        equal('put with lifetime 0', fn () => [$cache->put($name . 'text', 'x', 0), $cache->get($name . 'text')], [true, null]);

        $lock = fn (int $seconds = 100) => $cache->lock($name . 'lock', $seconds);
        [$first, $second] = [$lock(), $lock()];
        equal('get of a lock', fn () => $first->get(), true);
        equal('get of a lock that is held', fn () => $second->get(), false);
        equal('release by another', fn () => $second->release(), false);
        equal('release', fn () => $first->release(), true);
        equal('get of a lock that was released', fn () => $second->get(), true);
        equal('forceRelease', fn () => [$first->forceRelease(), $first->get(), $first->release()], [null, true, true]);
        equal('a lock with a callback', fn () => $lock()->get(fn () => 'inside'), 'inside');
        equal('a lock with a lifetime', fn () => $lock(1)->get(), true);
        equal('block until a lock has ended', fn () => $lock()->block(10, fn () => 'inside'), 'inside');
        equal('restoreLock', function () use ($cache, $lock, $name) {
            $lock = $lock();
            $lock->get();
            return $cache->restoreLock($name . 'lock', $lock->owner())->release();
        }, true);

        ends('the end of a lifetime', fn () => $cache->get($name . 'brief') === null);
        equal('forget', fn () => $cache->forget($name . 'object'), true);
        equal('forget of nothing', fn () => $cache->forget($name . 'object'), false);
        equal('deleteMultiple', fn () => $cache->deleteMultiple(array_keys($many)), true);
        equal('many of what was deleted', fn () => array_filter($cache->many(array_keys($many))), []);
        $large = str_repeat('0123456789', 90_000);
        equal('put of a large value', fn () => $cache->put($name . 'large', $large, 600), true);
        equal('get of a large value', fn () => $cache->get($name . 'large') === $large, true);
        equal('tags', fn () => [
            $cache->tags(['people'])->put($name . 'anne', 'x', 600), $cache->tags(['people'])->get($name . 'anne'),
        ], [true, 'x']);
        equal('clear', fn () => $cache->clear(), true);
        equal('get after a clear', fn () => $cache->get($name . 'new'), null);
    }
}

$status = (string) shell_exec("dpkg-query --show --showformat='\${Version}' php-illuminate-cache 2>/dev/null");
run('Laravel', preg_replace('/[+-].*/', '', $status) ?: 'unknown', fn ($service, $addresses, $name) => new Cache($service, $addresses, $name));
