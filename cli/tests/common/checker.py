"""Load with a checker, for any client library.

A script makes a `Checker` for each client, and hands them to `drive`.
"""

import sys
import threading
import time

KEYS = 64
# Errors that each client keeps for the end.
KEPT = 5


class Checker(threading.Thread):
    """Writes rising numbers under keys of its own, and reads them: a lower one is stale.

    `write(key, number)` and `read(key)` are the client's. After write n, key n * `stride` is read: with 1, the
    one just written. `may_drop` says that the client returns false for a write that it has not sent, instead of
    an error; such a write promises nothing.
    """

    def __init__(self, prefix, write, read, stride=7, may_drop=False):
        super().__init__(daemon=True)
        self.prefix, self.write, self.read = prefix, write, read
        self.stride, self.may_drop = stride, may_drop
        self.ends = threading.Event()
        self.reads = self.writes = self.misses = self.stale = self.failed = 0
        self.slowest, self.errors = 0.0, []

    def attempt(self, work, *arguments):
        begun = time.monotonic()
        try:
            return work(*arguments)
        except Exception as error:
            self.failed += 1
            self.errors.append(repr(error))
            return error
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def run(self):
        # The last number that was acknowledged, and the last that was sent.
        known, sent = {}, {}
        number = 0
        while not self.ends.is_set():
            number += 1
            key = f"{self.prefix}{number % KEYS}"
            sent[key] = number
            reply = self.attempt(self.write, key, str(number))
            if not isinstance(reply, Exception) and (reply or not self.may_drop):
                known[key] = number
            self.writes += 1
            other = f"{self.prefix}{number * self.stride % KEYS}"
            value = self.attempt(self.read, other)
            self.reads += 1
            if isinstance(value, Exception):
                continue
            if value is None:
                self.misses += 1
            elif not known.get(other, 0) <= int(value) <= sent.get(other, 0):
                self.stale += 1
                self.errors.append(f"{other}: {value}, known {known.get(other)}")


def ensure_alive(checkers):
    if not all(checker.is_alive() for checker in checkers):
        sys.exit("a checker has ended before its time")


def drive(checkers, reads):
    """Answers each line of standard input with the same line and the longest time of a request, once each
    checker has read this many times more: each has to go on, not only all together. When the input ends,
    says what they have counted.
    """
    for checker in checkers:
        checker.start()
    slowest_of_all = 0.0

    def slowest():
        nonlocal slowest_of_all
        longest = max(checker.slowest for checker in checkers)
        for checker in checkers:
            checker.slowest = 0.0
        slowest_of_all = max(slowest_of_all, longest)
        return f"slowest {longest * 1_000:.0f} ms"

    for line in sys.stdin:
        begun = [checker.reads for checker in checkers]
        while any(checker.reads < before + reads for checker, before in zip(checkers, begun)):
            ensure_alive(checkers)
            time.sleep(0.005)
        print(f"{line.strip()}: {slowest()}", flush=True)
    ensure_alive(checkers)
    for checker in checkers:
        checker.ends.set()
    for checker in checkers:
        checker.join()
    slowest()
    total = {name: sum(getattr(checker, name) for checker in checkers)
             for name in ("reads", "writes", "misses", "stale", "failed")}
    print("reads {reads}, writes {writes}, misses {misses}, stale {stale}, failed {failed}".format(**total)
          + f", slowest {slowest_of_all * 1_000:.0f} ms")
    for checker in checkers:
        for error in checker.errors[:KEPT]:
            print(error)
