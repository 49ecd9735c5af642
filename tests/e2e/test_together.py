#!/usr/bin/env python3
"""Everything at the same time: several senders, readers, seals, flushes and reloads; then a kill, and nothing is
missing. Run it with a server that was built for the thread sanitizer, too."""

import signal
import threading

import harness
from harness import Server, equal

SENDERS, SERIES, TICKS = 3, 40, 60


def value(sender, series, tick):
    return sender * 1000 + series + tick / 4


def send_all(s, sender):
    """Each batch is sent twice, over connections of its own: duplicates are normal, and the last write wins."""
    for tick in range(TICKS):
        t = s.now - 10 * tick
        lines = ["t.s%d.n%d %r %d" % (sender, i, value(sender, i, tick), t) for i in range(SERIES)]
        s.send(["t.s%d.n%d -1 %d" % (sender, i, t) for i in range(SERIES)] + lines)


def read_all(s, problems):
    c = s.http()
    for i in range(60):
        for path in ("/render?target=t.*.n1&from=-1h&format=json", "/render?target=sumSeries(t.**)&from=-10min&format=raw",
                     "/metrics/find?query=t.s*.n*", "/metrics/index.json", "/metrics"):
            answer = s.request("GET", path, connection=c)
            if answer.status != 200:
                problems.append("%s: %r" % (path, answer))
            if "target=t.*" in path:
                for series in answer.json:
                    sender, number = (int(part[1:]) for part in series["target"].split(".")[1:])
                    for got, t in series["datapoints"]:
                        if got not in (None, -1.0, value(sender, number, (s.now - t) / 10)):
                            problems.append("%s at %d is %r" % (series["target"], t, got))
    c.close()


def disturb(s, problems):
    for i in range(10):
        for path in ("/admin/seal", "/admin/flush"):
            answer = s.admin(path)
            if answer.status != 200:
                problems.append("%s: %r" % (path, answer))
        s.signal(signal.SIGHUP)


def assert_complete(s):
    for sender in range(SENDERS):
        for series in (0, 7, SERIES - 1):
            name = "t.s%d.n%d" % (sender, series)
            got = s.points(name, from_=s.now - 10 * TICKS, until=s.now)
            equal(got, {s.now - 10 * k: value(sender, series, k) for k in range(TICKS)}, "points of " + name)


def test_all_at_once_and_a_kill_lose_nothing():
    problems = []
    with Server() as s:
        work = [threading.Thread(target=send_all, args=(s, n)) for n in range(SENDERS)]
        work += [threading.Thread(target=read_all, args=(s, problems)) for _ in range(2)]
        work += [threading.Thread(target=disturb, args=(s, problems))]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        s.wait_received(2 * SENDERS * SERIES * TICKS)
        equal(problems[:3], [], "problems")
        assert_complete(s)
        s.kill()
        s.restart()
        assert_complete(s)
        equal(s.admin("/admin/seal").status, 200)
        assert_complete(s)
        equal(s.stop(), 0)
        s.restart()
        assert_complete(s)


if __name__ == "__main__":
    harness.main(__name__)
