"""redis-py against a cluster: client.py ADDRESS WHAT VERSION [ADDRESS]. WHAT is commands, passwords, watches, counters,
transfers, pairs or failover."""

import os
import sys
import threading
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
from checker import Checker, drive
from redis_checks import pipelines


def tls():
    """The client's options for TLS, if the test asks for it."""
    authority = os.environ.get("STANDIN_TEST_AUTHORITY")
    return {"ssl": True, "ssl_ca_certs": authority, "ssl_check_hostname": True} if authority else {}


def connect(address, version, **others):
    host, port = address.rsplit(":", 1)
    retry = Retry(ExponentialBackoff(cap=0.1, base=0.005), 5)
    return redis.Redis(host=host, port=int(port), protocol=version, retry=retry,
                       socket_timeout=5, socket_connect_timeout=5, **tls(), **others)


def is_refused(work):
    try:
        work()
    except redis.ResponseError:
        return True
    return False


def commands(client):
    client.flushall()
    assert client.ping()
    assert client.set("a", b"\x00\r\n\xff") and client.get("a") == b"\x00\r\n\xff"
    assert client.get("none") is None
    assert client.set("a", "1", ex=100, nx=True) is None and client.set("b", "2", px=100_000)
    assert 99 <= client.ttl("b") <= 100 and client.ttl("a") == -1 and client.ttl("none") == -2
    assert client.setnx("b", "x") == 0 and client.setex("c", 100, "3")
    assert client.mset({"d": 4, "e": 5}) and client.mget("d", "none", "e") == [b"4", None, b"5"]
    assert client.mset({f"many:{n}": n for n in range(2_000)})
    assert client.mget([f"many:{n}" for n in range(2_000)]) == [b"%d" % n for n in range(2_000)]
    assert client.delete(*[f"many:{n}" for n in range(2_000)], "none") == 2_000
    assert client.incr("n") == 1 and client.incrby("n", 10) == 11 and client.decr("n", 2) == 9
    assert float(client.incrbyfloat("n", 0.5)) == 9.5
    assert is_refused(lambda: client.incr("a"))
    assert client.expire("n", 100) and client.persist("n") and not client.expire("none", 5)
    assert client.getdel("n") == b"9.5" and client.getdel("n") is None
    assert client.getex("c", ex=50) == b"3" and 49 <= client.ttl("c") <= 50
    assert client.getset("c", "4") == b"3" and client.append("c", "56") == 3
    assert client.getrange("c", 1, -1) == b"56" and client.setrange("c", 1, "x") == 3
    assert client.strlen("c") == 3 and client.exists("c", "d", "none") == 2
    assert client.touch("c", "none") == 1 and client.unlink("c") == 1
    assert client.type("d") == b"string" and client.object("encoding", "d") == b"int"
    pipelines(client)
    locks(client)
    names = {b"x:%d" % n for n in range(5_000)}
    found = list(client.scan_iter(match="x:*", count=100))
    assert len(found) == len(names) and set(found) == names == set(client.keys("x:*"))
    assert client.dbsize() == len(client.keys("*")) and client.randomkey() in client.keys("*")
    info = client.info()
    assert info["redis_mode"] == "standalone" and "standin_version" in info
    assert client.config_get("save") == {"save": ""}
    assert client.command_count() > 60 and "get" in client.command()
    assert client.client_id() > 0 and client.client_setname("me") and client.client_getname() in ("me", b"me")
    assert is_refused(lambda: client.hset("h", "f", "v"))
    assert is_refused(lambda: client.eval("return 1", 0))
    big = b"x" * (1 << 17)
    assert client.set("big", big) and client.get("big") == big
    assert is_refused(lambda: client.set("big", big * 16)) and client.get("big") == big
    client.flushdb()
    assert client.get("a") is None
    print("all replies right")


def locks(client):
    """What the client's Lock does by scripts."""
    mine, other = (client.lock("lock", timeout=100) for _ in range(2))
    assert mine.acquire() and mine.owned() and not other.acquire(blocking=False)
    assert mine.extend(50) and 149 <= client.ttl("lock") <= 150
    assert mine.extend(20, replace_ttl=True) and 19 <= client.ttl("lock") <= 20
    assert mine.reacquire() and 99 <= client.ttl("lock") <= 100
    for work in (other.reacquire, lambda: other.extend(5), other.release):
        other.local.token = b"another"
        try:
            work()
            raise AssertionError("it is not the owner")
        except redis.exceptions.LockNotOwnedError:
            pass
    assert client.ttl("lock") > 90
    mine.release()
    assert not mine.locked() and other.acquire(blocking=False)
    other.release()
    # A lock without an end can't be extended, also if the client did not know.
    client.set("lock", "me")
    mine.local.token = b"me"
    try:
        mine.extend(5)
        raise AssertionError("it has no end")
    except redis.exceptions.LockNotOwnedError:
        assert client.ttl("lock") == -1 and client.delete("lock")
    script = client.register_script("return redis.call('get', KEYS[1])")
    assert is_refused(lambda: script(keys=["lock"]))


def passwords(address, version):
    for right in ({"password": "secret"}, {"username": "ann", "password": "hers"}):
        client = connect(address, version, **right)
        assert client.set("secret", "x") and client.get("secret") == b"x"
    for wrong in ({}, {"password": "hers"}, {"username": "ann", "password": "secret"}):
        try:
            connect(address, version, **wrong).get("secret")
            raise AssertionError(f"admitted with {wrong}")
        except redis.AuthenticationError:
            pass
    print("only with a password")


def failover(connected):
    clients = [connected() for _ in range(4)]
    drive([Checker(f"t{n}:", client.set, client.get) for n, client in enumerate(clients)], reads=200)


class Counter(threading.Thread):
    """Increments numbers that others increment at the same time, by WATCH, GET, MULTI, SET and EXEC.

    `done` is how often that was acknowledged, and `unsure` how often it was not and may have happened. A
    transaction that is not acknowledged because the connection broke is repeated by the client: then it may
    have happened twice.
    """

    NAMES = [f"counter:{n}" for n in range(3)]
    # By these the server says that nothing was carried out.
    NOTHING_DONE = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MOVED")

    def __init__(self, client, number):
        super().__init__(daemon=True)
        self.client, self.number = client, number
        self.ends = threading.Event()
        # As those of a checker.
        self.reads = self.writes = self.misses = self.stale = self.failed = 0
        self.slowest, self.errors = 0.0, []
        self.done, self.unsure, self.conflicts = 0, 0, 0

    def increment(self, name):
        conflicts = -1

        def change(pipe):
            nonlocal conflicts
            conflicts += 1
            number = int(pipe.get(name) or 0) + 1
            pipe.multi()
            if self.number % 2:
                pipe.set(name, number).get(name)
            else:
                pipe.echo("x").set(name, number).expire(name, 1_000)

        replies = self.client.transaction(change, name)
        assert len(replies) == 2 + (self.number + 1) % 2, replies
        self.done += 1
        self.conflicts += conflicts

    def run(self):
        while not self.ends.is_set():
            self.number += 1
            begun = time.monotonic()
            try:
                self.increment(self.NAMES[self.number % len(self.NAMES)])
            except redis.RedisError as error:
                self.errors.append(repr(error))
                self.unsure += not str(error).startswith(self.NOTHING_DONE)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.reads += 1
            self.writes += 1


def counters(connected):
    """Counters of many clients: none of the increments that were acknowledged is lost."""
    client = connected()
    client.delete(*Counter.NAMES)
    counters = [Counter(connected(), n) for n in range(8)]
    drive(counters, reads=50)
    total = sum(int(client.get(name)) for name in Counter.NAMES)
    done, unsure, conflicts = (sum(getattr(counter, name) for counter in counters)
                               for name in ("done", "unsure", "conflicts"))
    print(f"{done} increments, {unsure} unsure, {conflicts} conflicts, sum {total}")
    if not done <= total <= done + unsure or conflicts == 0:
        sys.exit(f"sum {total} after {done} increments, {unsure} unsure, {conflicts} conflicts")


class Transfers(threading.Thread):
    """Moves amounts between two accounts, whose sum never changes, and never has both of two flags set.

    Each transaction watches several keys and writes some of them, or others.
    """

    A, B, DONE, X, Y = "{t}a", "{t}b", "{t}done", "{t}x", "{t}y"
    SUM = 1_000

    def __init__(self, client, own, other, count):
        super().__init__(daemon=True)
        self.client, self.own, self.other, self.count = client, own, other, count
        self.done, self.conflicts, self.wrong = 0, 0, []

    def transfer(self, pipe, number):
        a, b = (int(value) for value in pipe.mget(self.A, self.B))
        pipe.multi()
        pipe.incr(self.DONE)
        if number % 3:
            pipe.set(self.A, a - number).set(self.B, b + number)
        else:
            pipe.mset({self.B: b - number, self.A: a + number})
        pipe.mget(self.A, self.B)
        replies = pipe.execute()
        # Only what EXEC has found unchanged counts.
        if a + b != self.SUM or sum(map(int, replies[-1])) != self.SUM:
            self.wrong.append((a, b, replies))

    def flag(self, pipe, _number):
        own, other = (int(value or 0) for value in (pipe.get(self.own), pipe.get(self.other)))
        pipe.multi()
        pipe.incr(self.DONE)
        if own:
            pipe.delete(self.own)
        elif not other:
            pipe.set(self.own, 1)
        pipe.execute()
        if own and other:
            self.wrong.append((self.own, own, self.other, other))

    def run(self):
        with self.client.pipeline() as pipe:
            while self.done < self.count:
                number = self.done
                work, keys = ((self.transfer, (self.A, self.B)), (self.flag, (self.X, self.Y)))[number % 2]
                try:
                    pipe.watch(*keys)
                    work(pipe, number)
                    self.done += 1
                except redis.WatchError:
                    self.conflicts += 1


def transfers(addresses, version):
    """Two connections that contend for the same keys: nothing is lost, and nothing is seen half done."""
    clients = [connect(address, version) for address in addresses]
    clients[0].flushall()
    clients[0].mset({Transfers.A: Transfers.SUM, Transfers.B: 0})
    flags = (Transfers.X, Transfers.Y)
    both = [Transfers(client, *order, 1_500) for client, order in zip(clients, (flags, flags[::-1]))]
    for one in both:
        one.start()
    for one in both:
        one.join()
    done, conflicts = (sum(getattr(one, name) for one in both) for name in ("done", "conflicts"))
    wrong = [each for one in both for each in one.wrong]
    counted = int(clients[1].get(Transfers.DONE))
    total = sum(map(int, clients[1].mget(Transfers.A, Transfers.B)))
    print(f"{done} transactions, {conflicts} conflicts, {counted} counted, sum {total}")
    if wrong or (done, counted, total) != (3_000, 3_000, Transfers.SUM) or conflicts == 0:
        sys.exit(f"wrong: {wrong[:5]}")
    print("no transfer is lost")


class Pairs(Counter):
    """Flags of which never both are set, also while their values are lost with a server."""

    PAIRS = [(f"{{pair{n}}}x", f"{{pair{n}}}y") for n in range(6)]
    NAMES = PAIRS

    def increment(self, names):
        own, other = names if self.number % 2 else names[::-1]
        seen, conflicts = None, -1

        def change(pipe):
            nonlocal seen, conflicts
            conflicts += 1
            seen = [int(value or 0) for value in (pipe.get(own), pipe.get(other))]
            pipe.multi()
            if seen[0]:
                pipe.delete(own)
            elif not seen[1]:
                pipe.set(own, 1, ex=1_000)

        self.client.transaction(change, own, other)
        # What EXEC has found unchanged was so at one moment.
        self.stale += seen == [1, 1]
        self.done += 1
        self.conflicts += conflicts


def pairs(connected):
    """No two clients that have seen the same two keys have both written one."""
    client = connected()
    client.delete(*[name for pair in Pairs.PAIRS for name in pair])
    clients = [Pairs(connected(), n) for n in range(8)]
    drive(clients, reads=50)
    done, unsure, conflicts = (sum(getattr(one, name) for one in clients)
                               for name in ("done", "unsure", "conflicts"))
    print(f"{done} transactions, {unsure} unsure, {conflicts} conflicts")
    if conflicts == 0 or done < 100:
        sys.exit("the clients have not contended")


def watches(client):
    """What WATCH and EXEC answer, without other clients."""
    client.delete("w", "v", "none")
    with client.pipeline() as pipe:
        def run(*commands):
            """EXEC's answer to these commands; None if the key has changed."""
            pipe.multi()
            for name, *arguments in commands:
                getattr(pipe, name)(*arguments)
            try:
                return pipe.execute()
            except redis.WatchError:
                return None

        pipe.watch("w")
        assert run(("set", "w", 1), ("incr", "v")) == [True, 1]
        # A key that has come, changed, got a lifetime and gone.
        pipe.watch("new")
        client.set("new", 1)
        assert run(("set", "new", 2)) is None and client.getdel("new") == b"1"
        pipe.watch("w")
        client.set("w", 1)
        assert run(("incr", "w"), ("incr", "v")) is None and client.get("v") == b"1"
        pipe.watch("w")
        client.delete("w")
        assert run(("set", "w", 1)) is None and client.get("w") is None
        client.set("w", 1, px=30)
        pipe.watch("w")
        while client.exists("w"):
            time.sleep(0.005)
        assert run(("set", "w", 5)) is None and client.get("w") is None
        # Replies come in the order of the commands, and a lifetime is given with the value.
        client.set("w", 5)
        pipe.watch("w")
        replies = run(("set", "v", 7), ("mget", "v", "absent"), ("incr", "w"), ("expire", "w", 100),
                      ("get", "w"), ("ttl", "w"))
        assert replies == [True, [b"7", None], 6, True, b"6", 100], replies
        # What is refused by the value that is there is an error among the replies.
        client.set("w", "x")
        pipe.watch("w")
        pipe.multi()
        pipe.incr("w").expire("w", 50).set("v", 8)
        first, *others = pipe.execute(raise_on_error=False)
        assert isinstance(first, redis.ResponseError) and others == [True, True], (first, others)
        assert 49 <= client.ttl("w") <= 50 and client.get("v") == b"8"
        # Conditions of the command itself.
        for key, command, wanted in (
                ("w", ("setnx", "w", 1), False), ("none", ("setnx", "none", 1), True),
                ("none", ("delete", "none"), 1), ("none", ("delete", "none"), 0),
                ("none", ("expire", "none", 5), False), ("none", ("append", "none", "ab"), 2)):
            pipe.watch(key)
            assert run(command) == [wanted], command
        pipe.watch("absent")
        pipe.multi()
        pipe.set("absent", 1, xx=True)
        assert pipe.execute() == [None] and client.get("absent") is None
        # Nothing is written: each key is looked at once more.
        pipe.watch("w", "v", "absent")
        assert run() == [] and client.get("v") == b"8"
        pipe.watch("w", "v", "absent")
        assert run(("get", "v")) == [b"8"]
        pipe.watch("w", "v", "absent")
        client.set("v", 9)
        assert run(("get", "w")) is None
        # UNWATCH, DISCARD and EXEC end what is watched.
        pipe.watch("w")
        client.set("w", 1)
        pipe.unwatch()
        assert run(("set", "w", 2)) == [True]
        # Without a database, the owner carries out any commands of one key in one step.
        client.set("w", 1)
        pipe.watch("w")
        assert run(("get", "w"), ("set", "w", 2), ("incr", "w"), ("decr", "w")) == [b"1", True, 3, 2]
        for keys, commands in (
                (["w"], [("set", "v", 1)]), (["w", "v"], [("set", "w", 1)]),
                (["w"], [("mset", {"w": 1, "v": 1})]), (["w"], [("set", "w", 1), ("flushall",)])):
            pipe.watch(*keys)
            assert is_refused(lambda: run(*commands)), commands
        assert client.mget("w", "v") == [b"2", b"9"], "nothing was carried out"


if __name__ == "__main__":
    if sys.argv[2] == "watches":
        watches(connect(sys.argv[1], int(sys.argv[3])))
        print("all replies right")
    elif sys.argv[2] == "counters":
        counters(lambda: connect(sys.argv[1], int(sys.argv[3])))
    elif sys.argv[2] == "transfers":
        transfers((sys.argv[1], sys.argv[4]), int(sys.argv[3]))
    elif sys.argv[2] == "pairs":
        pairs(lambda: connect(sys.argv[1], int(sys.argv[3])))
    elif sys.argv[2] == "commands":
        commands(connect(sys.argv[1], int(sys.argv[3])))
    elif sys.argv[2] == "passwords":
        passwords(sys.argv[1], int(sys.argv[3]))
    else:
        failover(lambda: connect(sys.argv[1], int(sys.argv[3])))
