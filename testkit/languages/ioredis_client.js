// ioredis: one server at a time, by a host name that has the addresses of several, or as a cluster.

'use strict';

const Redis = require('ioredis');
const { run } = require('./talk.js');

// A connection that was lost is opened again after this time.
const AGAIN_MS = 20;

function connect(service, addresses, name) {
  const options = { connectTimeout: 1_000, commandTimeout: 2_000, maxRetriesPerRequest: 20 };
  const client = service === 'redis-cluster'
    ? new Redis.Cluster(addresses, {
      redisOptions: options,
      clusterRetryStrategy: () => AGAIN_MS,
      retryDelayOnFailover: AGAIN_MS,
      retryDelayOnClusterDown: 100,
      maxRedirections: 50,
    })
    : new Redis({ ...name, ...options, retryStrategy: () => AGAIN_MS });
  // Without a listener it prints each failure.
  client.on('error', () => {});
  return {
    get: (key) => client.get(key),
    // The keys of one command of a cluster must be in one slot.
    many: (keys) => service === 'redis-cluster' ? Promise.all(keys.map((key) => client.get(key))) : client.mget(keys),
    set: (key, value) => client.set(key, value),
    delete: (key) => client.del(key),
    check: (checks, prefix) => check(client, checks, `{${prefix}}`),
  };
}

async function check(client, { equal, fails, ends }, name) {
  const keys = Array.from({ length: 300 }, (_, number) => `${name}${number}`);
  const values = keys.map((_, number) => String(number));
  const bytes = Buffer.from([0, 13, 10, 255]);
  await equal('set of text', () => client.set(name + 'text', 'Grüße'), 'OK');
  await equal('get of text', () => client.get(name + 'text'), 'Grüße');
  await equal('set of bytes', () => client.set(name + 'bytes', bytes), 'OK');
  await equal('get of bytes', () => client.getBuffer(name + 'bytes'), bytes);
  await equal('get of nothing', () => client.get(name + 'missing'), null);
  await equal('mset', () => client.mset(keys.flatMap((key, number) => [key, values[number]])), 'OK');
  await equal('mget', () => client.mget([...keys, name + 'missing']), [...values, null]);
  await equal('set nx of what is there', () => client.set(name + 'text', 'x', 'NX'), null);
  await equal('set nx', () => client.set(name + 'new', 'x', 'EX', 100, 'NX'), 'OK');
  await equal('setnx', () => client.setnx(name + 'new', 'x'), 0);
  await equal('set with get', () => client.set(name + 'new', 'y', 'GET'), 'x');
  await equal('append', () => client.append(name + 'new', 'ab'), 3);
  await equal('getrange', () => client.getrange(name + 'new', 1, -1), 'ab');
  await equal('strlen', () => client.strlen(name + 'new'), 3);
  await equal('incrby', () => client.incrby(name + 'count', 5), 5);
  await equal('decr', () => client.decr(name + 'count'), 4);
  await fails('incr of text', () => client.incr(name + 'text'));
  await equal('exists', () => client.exists(name + 'text', name + 'missing'), 1);
  await equal('expire', () => client.expire(name + 'text', 600), 1);
  await equal('ttl', () => client.ttl(name + 'text').then((s) => s >= 590 && s <= 600), true);
  await equal('persist', () => client.persist(name + 'text'), 1);
  await equal('ttl without an end', () => client.ttl(name + 'text'), -1);
  await equal('getex', () => client.getex(name + 'text', 'EX', 600), 'Grüße');
  await equal('touch', () => client.touch(name + 'text'), 1);
  await equal('set with a lifetime', () => client.set(name + 'brief', 'x', 'PX', 900), 'OK');
  await equal('transaction', () =>
    client.multi().set(name + 'p', 1).expire(name + 'p', 100).incr(name + 'p').get(name + 'p').exec(),
  [[null, 'OK'], [null, 1], [null, 2], [null, '2']]);
  await equal('pipeline', async () => {
    const pipeline = client.pipeline();
    keys.forEach((key) => pipeline.get(key));
    return (await pipeline.exec()).map(([, value]) => value);
  }, values);
  await ends('the end of a lifetime', async () => (await client.get(name + 'brief')) === null);
  await equal('getdel', () => client.getdel(name + 'p'), '2');
  await equal('delete', () => client.del(name + 'text'), 1);
  await equal('delete of nothing', () => client.del(name + 'text'), 0);
  await equal('unlink of many', () => client.unlink(keys), 300);
  await equal('mget of what was deleted', () => client.mget(keys), keys.map(() => null));
  const large = '0123456789'.repeat(90_000);
  await equal('set of a large value', () => client.set(name + 'large', large), 'OK');
  await equal('get of a large value', () => client.get(name + 'large'), large);
  await equal('ping', () => client.ping(), 'PONG');
  const all = client.nodes ? client.nodes('master') : [client];
  await equal('clear', () => Promise.all(all.map((node) => node.flushall())), all.map(() => 'OK'));
  await equal('get after a clear', () => client.get(name + 'new'), null);
}

run('ioredis', require('ioredis/package.json').version, connect);
