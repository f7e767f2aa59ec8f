// The part that all scripts for Node share: lines of words come in, lines of JSON go out.
//
// SCRIPT version
// SCRIPT SERVICE ADDRESS,… NAME    until the end of the input
//
// SERVICE is redis or redis-cluster. Each ADDRESS is one server. NAME is a host name and a port that stand for all
// of them. testkit/src/languages/mod.rs describes the lines.

'use strict';

const assert = require('assert');
const readline = require('readline');

// The longest wait for a lifetime of a second to end.
const EXPIRES_WITHIN_MS = 20_000;

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

// Compares results with what they must be, and says each comparison.
const checks = {
  async equal(what, work, wanted) {
    let wrong = null;
    try {
      const got = await work();
      try {
        assert.deepStrictEqual(got, wanted);
      } catch {
        wrong = `${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`;
      }
    } catch (error) {
      wrong = String(error);
    }
    say({ check: what, wrong });
  },

  async fails(what, work) {
    let wrong = 'no error';
    try {
      await work();
    } catch {
      wrong = null;
    }
    say({ check: what, wrong });
  },

  // A lifetime ends.
  async ends(what, isGone) {
    await checks.equal(what, async () => {
      const deadline = Date.now() + EXPIRES_WITHIN_MS;
      while (!(await isGone())) {
        if (Date.now() > deadline) return false;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return true;
    }, true);
  },
};

// Serves `connect(service, addresses, name)`, which gives an object with get, set, delete, many and check.
async function run(client, version, connect) {
  say({ client, version });
  const [service, addresses, name] = process.argv.slice(2);
  if (service === 'version') process.exit(0);
  const cache = await connect(service, addresses.split(',').map(hostAndPort), hostAndPort(name));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, ...words] = line.split(' ');
    if (command === 'check') {
      await cache.check(checks, words[0]);
      say({ done: true });
      continue;
    }
    try {
      if (command === 'get') say({ values: [await cache.get(words[0])] });
      else if (command === 'many') say({ values: await cache.many(words) });
      else {
        if (command === 'set') await cache.set(words[0], words[1]);
        else await cache.delete(words[0]);
        say({ ok: true });
      }
    } catch (error) {
      say({ error: String(error) });
    }
  }
  process.exit(0);
}

function hostAndPort(address) {
  const at = address.lastIndexOf(':');
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}

module.exports = { run };
