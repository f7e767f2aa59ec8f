<?php
// PHP's extension memcached, which is libmemcached: keys are spread over all servers; one that fails is left out.

require __DIR__ . '/talk.php';

class Cache
{
    private Memcached $client;

    public function __construct(array $addresses)
    {
        $this->client = new Memcached();
        $this->client->setOptions([
            Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
            Memcached::OPT_SERVER_FAILURE_LIMIT => 1,
            Memcached::OPT_REMOVE_FAILED_SERVERS => true,
            Memcached::OPT_RETRY_TIMEOUT => 1,
            Memcached::OPT_DEAD_TIMEOUT => 30,
            Memcached::OPT_TCP_NODELAY => true,
            Memcached::OPT_CONNECT_TIMEOUT => 1_000,
            Memcached::OPT_RECV_TIMEOUT => 1_000_000,
            Memcached::OPT_SEND_TIMEOUT => 1_000_000,
            Memcached::OPT_POLL_TIMEOUT => 1_000,
        ]);
        foreach ($addresses as [$host, $port]) {
            $this->client->addServer($host, $port);
        }
    }

    /** A result of false means a miss or a failure. */
    private function answered(bool $isMiss): void
    {
        expect(!$isMiss || $this->client->getResultCode() === Memcached::RES_NOTFOUND, $this->client->getResultMessage());
    }

    public function get(string $key): ?string
    {
        $value = $this->client->get($key);
        $this->answered($value === false);
        return $value === false ? null : $value;
    }

    public function many(array $keys): array
    {
        $found = $this->client->getMulti($keys);
        expect($found !== false, $this->client->getResultMessage());
        return array_map(fn ($key) => $found[$key] ?? null, $keys);
    }

    public function set(string $key, string $value): void
    {
        expect($this->client->set($key, $value), $this->client->getResultMessage());
    }

    public function delete(string $key): void
    {
        $this->answered(!$this->client->delete($key));
    }

    public function check(string $name): void
    {
        $client = $this->client;
        $many = [];
        for ($number = 0; $number < 300; $number++) {
            $many[$name . $number] = $number;
        }
        $object = ['list' => [1, 2.5, null], 'bytes' => "\r\n\0"];
        equal('set of text', fn () => $client->set($name . 'text', 'Grüße'), true);
        equal('get of text', fn () => $client->get($name . 'text'), 'Grüße');
        equal('set of an array', fn () => $client->set($name . 'object', $object), true);
        equal('get of an array', fn () => $client->get($name . 'object'), $object);
        equal('set of a boolean', fn () => $client->set($name . 'true', true), true);
        equal('get of a boolean', fn () => $client->get($name . 'true'), true);
        equal('get of nothing', fn () => [$client->get($name . 'missing'), $client->getResultCode()],
            [false, Memcached::RES_NOTFOUND]);
        equal('setMulti', fn () => $client->setMulti($many), true);
        equal('getMulti', function () use ($client, $many, $name) {
            $found = $client->getMulti([...array_keys($many), $name . 'missing']);
            ksort($found);
            ksort($many);
            return $found === $many;
        }, true);
        equal('add of what is there', fn () => $client->add($name . 'text', 'x'), false);
        equal('add', fn () => $client->add($name . 'new', 'x', 100), true);
        equal('replace of nothing', fn () => $client->replace($name . 'none', 'x'), false);
        equal('replace', fn () => $client->replace($name . 'new', 'y'), true);
        $client->setOption(Memcached::OPT_COMPRESSION, false);
        equal('append', fn () => $client->append($name . 'new', 'z'), true);
        equal('prepend', fn () => $client->prepend($name . 'new', 'x'), true);
        equal('get of what was appended', fn () => $client->get($name . 'new'), 'xyz');
        $client->setOption(Memcached::OPT_COMPRESSION, true);
        equal('set of a number', fn () => $client->set($name . 'count', 10), true);
        equal('increment', fn () => $client->increment($name . 'count', 5), 15);
        equal('decrement below zero', fn () => $client->decrement($name . 'count', 20), 0);
        equal('get of a number', fn () => $client->get($name . 'count'), 0);
        equal('increment of nothing', fn () => $client->increment($name . 'missing'), false);
        equal('cas', function () use ($client, $name) {
            $got = $client->get($name . 'count', null, Memcached::GET_EXTENDED);
            return [$client->cas($got['cas'], $name . 'count', 7), $client->cas($got['cas'], $name . 'count', 8)];
        }, [true, false]);
        equal('set with a lifetime', fn () => $client->set($name . 'brief', 'x', 1), true);
        equal('touch', fn () => $client->touch($name . 'text', 600), true);
        equal('touch of nothing', fn () => $client->touch($name . 'missing', 600), false);
        equal('set of a compressed value', fn () => $client->set($name . 'zip', str_repeat('z', 50_000)), true);
        equal('get of a compressed value', fn () => $client->get($name . 'zip'), str_repeat('z', 50_000));
        ends('the end of a lifetime', fn () => $client->get($name . 'brief') === false);
        equal('delete', fn () => $client->delete($name . 'text'), true);
        equal('delete of nothing', fn () => $client->delete($name . 'text'), false);
        equal('deleteMulti', fn () => array_unique(array_values($client->deleteMulti(array_keys($many)))), [true]);
        equal('getMulti of what was deleted', fn () => $client->getMulti(array_keys($many)), []);
        $large = random_bytes(900_000);
        equal('set of a large value', fn () => $client->set($name . 'large', $large), true);
        equal('get of a large value', fn () => $client->get($name . 'large') === $large, true);
        equal('getStats', fn () => count(array_filter($client->getStats())) > 0, true);
        equal('getVersion', fn () => count(array_filter($client->getVersion())) > 0, true);
        equal('clear', fn () => $client->flush(), true);
        equal('get after a clear', fn () => $client->get($name . 'object'), false);
    }
}

run('PHP memcached', phpversion('memcached'), fn ($service, $addresses, $name) => new Cache($addresses));
