"""The part that all scripts in Python share: lines of words come in, lines of JSON go out.

SCRIPT version
SCRIPT SERVICE ADDRESS,… NAME    until the end of the input

SERVICE is memcached, redis or redis-cluster. Each ADDRESS is one server. NAME is a host name and a port that
stand for all of them. testkit/src/languages/mod.rs describes the lines.
"""

import json
import sys
import time

# The longest wait for a lifetime of a second to end.
EXPIRES_WITHIN_S = 20


def say(**line):
    print(json.dumps(line), flush=True)


class Checks:
    """Compares results with what they must be, and says each comparison."""

    def equal(self, what, work, wanted):
        try:
            got = work()
            wrong = None if got == wanted else f"{got!r}, expected {wanted!r}"
        except Exception as error:
            wrong = repr(error)
        say(check=what, wrong=wrong)

    def raises(self, what, kind, work):
        try:
            wrong = f"{work()!r}, expected {kind.__name__}"
        except kind:
            wrong = None
        except Exception as error:
            wrong = repr(error)
        say(check=what, wrong=wrong)

    def ends(self, what, is_gone):
        """A lifetime ends."""
        def wait():
            deadline = time.monotonic() + EXPIRES_WITHIN_S
            while not is_gone():
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            return True
        self.equal(what, wait, True)


def run(client, version, connect):
    """Serves `connect(service, addresses, name)`, which has get, set, delete, many and check."""
    say(client=client, version=version)
    if sys.argv[1] == "version":
        return
    cache = connect(sys.argv[1], sys.argv[2].split(","), sys.argv[3])
    for line in sys.stdin:
        command, *words = line.split()
        if command == "check":
            cache.check(Checks(), words[0])
            say(done=True)
            continue
        try:
            if command == "get":
                say(values=[cache.get(words[0])])
            elif command == "many":
                say(values=cache.many(words))
            elif command == "set":
                cache.set(words[0], words[1])
                say(ok=True)
            elif command == "delete":
                cache.delete(words[0])
                say(ok=True)
        except Exception as error:
            say(error=repr(error))


def expect(is_so, what):
    """For clients that report a failure by a result."""
    if not is_so:
        raise RuntimeError(what)
