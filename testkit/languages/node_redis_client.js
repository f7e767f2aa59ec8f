// node-redis: one server at a time, by a host name that has the addresses of several, or as a cluster.

'use strict';

const { createClient, createCluster, RESP_TYPES } = require('redis');
const { run } = require('./talk.js');

// A connection that was lost is opened again after this time.
const AGAIN_MS = 20;

async function connect(service, addresses, name) {
  const socket = { connectTimeout: 1_000, socketTimeout: 2_000, reconnectStrategy: () => AGAIN_MS };
  const isCluster = service === 'redis-cluster';
  const client = isCluster
    ? createCluster({
      rootNodes: addresses.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
      defaults: { socket },
      maxCommandRedirections: 50,
      // It asks for the slots again when it has tried to connect for this time, instead of 5 s.
      topologyRefreshOnReconnectionAttemptStrategy: AGAIN_MS,
    })
    : createClient({ socket: { ...socket, ...name } });
  // Without a listener a failure ends the process.
  client.on('error', () => {});
  await client.connect();
  return {
    get: (key) => client.get(key),
    // The keys of one command of a cluster must be in one slot.
    many: (keys) => isCluster ? Promise.all(keys.map((key) => client.get(key))) : client.mGet(keys),
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
  await equal('get of bytes', () =>
    client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get(name + 'bytes'), bytes);
  await equal('get of nothing', () => client.get(name + 'missing'), null);
  await equal('mset', () => client.mSet(keys.map((key, number) => [key, values[number]])), 'OK');
  await equal('mget', () => client.mGet([...keys, name + 'missing']), [...values, null]);
  await equal('set nx of what is there', () => client.set(name + 'text', 'x', { condition: 'NX' }), null);
  await equal('set nx', () =>
    client.set(name + 'new', 'x', { condition: 'NX', expiration: { type: 'EX', value: 100 } }), 'OK');
  await equal('setnx', () => client.setNX(name + 'new', 'x'), 0);
  await equal('set with get', () => client.set(name + 'new', 'y', { GET: true }), 'x');
  await equal('append', () => client.append(name + 'new', 'ab'), 3);
  await equal('getrange', () => client.getRange(name + 'new', 1, -1), 'ab');
  await equal('strlen', () => client.strLen(name + 'new'), 3);
  await equal('incrby', () => client.incrBy(name + 'count', 5), 5);
  await equal('decr', () => client.decr(name + 'count'), 4);
  await fails('incr of text', () => client.incr(name + 'text'));
  await equal('exists', () => client.exists([name + 'text', name + 'missing']), 1);
  await equal('expire', () => client.expire(name + 'text', 600), 1);
  await equal('ttl', () => client.ttl(name + 'text').then((s) => s >= 590 && s <= 600), true);
  await equal('persist', () => client.persist(name + 'text'), 1);
  await equal('ttl without an end', () => client.ttl(name + 'text'), -1);
  await equal('getex', () => client.getEx(name + 'text', { type: 'EX', value: 600 }), 'Grüße');
  await equal('touch', () => client.touch(name + 'text'), 1);
  await equal('set with a lifetime', () =>
    client.set(name + 'brief', 'x', { expiration: { type: 'PX', value: 900 } }), 'OK');
  await equal('transaction', () =>
    client.multi().set(name + 'p', '1').expire(name + 'p', 100).incr(name + 'p').get(name + 'p').exec(),
  ['OK', 1, 2, '2']);
  await equal('pipeline', () => Promise.all(keys.map((key) => client.get(key))), values);
  await ends('the end of a lifetime', async () => (await client.get(name + 'brief')) === null);
  await equal('getdel', () => client.getDel(name + 'p'), '2');
  await equal('delete', () => client.del(name + 'text'), 1);
  await equal('delete of nothing', () => client.del(name + 'text'), 0);
  await equal('unlink of many', () => client.unlink(keys), 300);
  await equal('mget of what was deleted', () => client.mGet(keys), keys.map(() => null));
  const large = '0123456789'.repeat(90_000);
  await equal('set of a large value', () => client.set(name + 'large', large), 'OK');
  await equal('get of a large value', () => client.get(name + 'large'), large);
  const all = client.masters
    ? await Promise.all(client.masters.map((node) => client.nodeClient(node)))
    : [client];
  await equal('ping', () => all[0].ping(), 'PONG');
  await equal('clear', () => Promise.all(all.map((node) => node.flushAll())), all.map(() => 'OK'));
  await equal('get after a clear', () => client.get(name + 'new'), null);
}

run('node-redis', require('redis/package.json').version, connect);
