<?php
// PHP's extension redis: one server at a time, by a host name that has the addresses of several, or as a cluster.

require __DIR__ . '/talk.php';

class Cache
{
    private $client;
    private bool $isCluster;

    public function __construct(string $service, array $addresses, array $name)
    {
        $this->isCluster = $service === 'redis-cluster';
        if ($this->isCluster) {
            $seeds = array_map(fn ($address) => implode(':', $address), $addresses);
            // The first is also the time for which it looks for a server that has come back, before it connects.
            $this->client = new RedisCluster(null, $seeds, 0.25, 1.0);
            return;
        }
        $this->client = new Redis();
        // 20 ms between attempts to connect again.
        $this->client->connect($name[0], $name[1], 1.0, null, 20, 1.0);
        $this->client->setOption(Redis::OPT_MAX_RETRIES, 5);
    }

    /** A result of false means a miss or an error. */
    private function answered(bool $isMiss): void
    {
        expect(!$isMiss || $this->client->getLastError() === null, (string) $this->client->getLastError());
    }

    public function get(string $key): ?string
    {
        $this->client->clearLastError();
        $value = $this->client->get($key);
        $this->answered($value === false);
        return $value === false ? null : $value;
    }

    public function many(array $keys): array
    {
        $values = $this->client->mget($keys);
        expect($values !== false, (string) $this->client->getLastError());
        return array_map(fn ($value) => $value === false ? null : $value, $values);
    }

    public function set(string $key, string $value): void
    {
        expect($this->client->set($key, $value), 'not stored');
    }

    public function delete(string $key): void
    {
        expect($this->client->del($key) !== false, (string) $this->client->getLastError());
    }

    public function check(string $prefix): void
    {
        // Keys with this tag are in one slot.
        $name = '{' . $prefix . '}';
        $client = $this->client;
        $many = [];
        for ($number = 0; $number < 300; $number++) {
            $many[$name . $number] = (string) $number;
        }
        $keys = array_keys($many);
        equal('set of text', fn () => $client->set($name . 'text', 'Grüße'), true);
        equal('get of text', fn () => $client->get($name . 'text'), 'Grüße');
        equal('get of nothing', fn () => $client->get($name . 'missing'), false);
        equal('mset', fn () => $client->mset($many), true);
        equal('mget', fn () => $client->mget([...$keys, $name . 'missing']), [...array_values($many), false]);
        equal('set nx of what is there', fn () => $client->set($name . 'text', 'x', ['nx', 'ex' => 100]), false);
        equal('set nx', fn () => $client->set($name . 'new', 'x', ['nx', 'ex' => 100]), true);
        equal('setnx', fn () => $client->setnx($name . 'new', 'x'), false);
        equal('getSet', fn () => $client->getSet($name . 'new', 'y'), 'x');
        equal('append', fn () => $client->append($name . 'new', 'ab'), 3);
        equal('getRange', fn () => $client->getRange($name . 'new', 1, -1), 'ab');
        equal('strlen', fn () => $client->strlen($name . 'new'), 3);
        equal('incrBy', fn () => $client->incrBy($name . 'count', 5), 5);
        equal('decr', fn () => $client->decr($name . 'count'), 4);
        equal('incrByFloat', fn () => $client->incrByFloat($name . 'float', 1.5), 1.5);
        equal('incr of text', fn () => $client->incr($name . 'text'), false);
        equal('exists', fn () => (int) $client->exists($name . 'text'), 1);
        equal('expire', fn () => (bool) $client->expire($name . 'text', 600), true);
        equal('ttl', fn () => $client->ttl($name . 'text') >= 590 && $client->ttl($name . 'text') <= 600, true);
        equal('persist', fn () => (bool) $client->persist($name . 'text'), true);
        equal('ttl without an end', fn () => $client->ttl($name . 'text'), -1);
        equal('setex', fn () => $client->setex($name . 'brief', 1, 'x'), true);
        equal('type', fn () => $client->type($name . 'text'), Redis::REDIS_STRING);
        equal('transaction', fn () => $client->multi()->set($name . 'p', '1')->expire($name . 'p', 100)
            ->incr($name . 'p')->get($name . 'p')->exec(), [true, true, 2, '2']);
        if (!$this->isCluster) {
            equal('pipeline', function () use ($client, $keys) {
                $pipeline = $client->multi(Redis::PIPELINE);
                foreach ($keys as $key) {
                    $pipeline->get($key);
                }
                return $pipeline->exec();
            }, array_values($many));
        }
        $release = 'if redis.call("get",KEYS[1]) == ARGV[1] then
    return redis.call("del",KEYS[1])
else
    return 0
end';
        equal('a lock', fn () => $client->set($name . 'lock', 'me', ['nx', 'ex' => 10]), true);
        equal('a lock that is held', fn () => $client->set($name . 'lock', 'you', ['nx', 'ex' => 10]), false);
        equal('release by another', fn () => $client->eval($release, [$name . 'lock', 'you'], 1), 0);
        equal('release', fn () => $client->eval($release, [$name . 'lock', 'me'], 1), 1);
        $add = "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])";
        equal('add by a script', fn () => (bool) $client->eval($add, [$name . 'added', 'x', 100], 1), true);
        equal('add by a script of what is there', fn () => (bool) $client->eval($add, [$name . 'added', 'x', 100], 1), false);
        equal('serializer', function () use ($client, $name) {
            $client->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
            $client->set($name . 'object', ['list' => [1, 2.5, null], 'bytes' => "\r\n\0"]);
            $got = $client->get($name . 'object');
            $client->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_NONE);
            return $got;
        }, ['list' => [1, 2.5, null], 'bytes' => "\r\n\0"]);
        ends('the end of a lifetime', fn () => $client->get($name . 'brief') === false);
        equal('delete', fn () => $client->del($name . 'text'), 1);
        equal('delete of nothing', fn () => $client->del($name . 'text'), 0);
        equal('unlink of many', fn () => $client->unlink($keys), 300);
        equal('mget of what was deleted', fn () => array_unique($client->mget($keys)), [false]);
        $large = random_bytes(900_000);
        equal('set of a large value', fn () => $client->set($name . 'large', $large), true);
        equal('get of a large value', fn () => $client->get($name . 'large') === $large, true);
        $masters = $this->isCluster ? $client->_masters() : [null];
        $clear = fn ($master) => $this->isCluster ? $client->flushAll($master) : $client->flushAll();
        equal('clear', fn () => array_unique(array_map($clear, $masters)), [true]);
        equal('get after a clear', fn () => $client->get($name . 'new'), false);
    }
}

run('PHP redis', phpversion('redis'), fn ($service, $addresses, $name) => new Cache($service, $addresses, $name));
