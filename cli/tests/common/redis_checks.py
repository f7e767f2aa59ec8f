"""Checks that redis-py's client passes wherever it is connected to."""


def pipelines(client):
    with client.pipeline(transaction=True) as pipe:
        pipe.mset({"p": 1, "q": 2}).expire("p", 100).get("q").incr("q")
        assert pipe.execute() == [True, True, b"2", 3]
    with client.pipeline(transaction=False) as pipe:
        for n in range(5_000):
            pipe.set(f"x:{n}", n).get(f"x:{n}")
        assert pipe.execute()[1::2] == [b"%d" % n for n in range(5_000)]
