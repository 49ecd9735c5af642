#!/usr/bin/env python3
"""kill -9 at random instants: every point that was counted is there, each with its right value.

One sender on one connection sends lines whose k-th is known, so "the server has counted n" means: the first n lines.
While it sends, /metrics is asked again and again, and then the server is killed. After the restart the first n points
must be there (n as last read), points after those may be there, and no cell may hold anything that was not sent for
it. The same data directory is used for all kills, so recovery is tested on what recovery has left; few windows may be
open, so that sealing, and writing again into sealed windows, goes on all the time; each run brings new names.

SEED=n repeats a run (printed on failure), KILLS=n changes how many kills there are (100).
"""

import os
import random
import threading
import time
import urllib.parse

import harness
from harness import Failure, Server, check, equal

KILLS = int(os.environ.get("KILLS", "100"))
BASE_SERIES = 80
NEW_SERIES = 20
TICKS = 300  # of a run; a tick is a second, and a window 120 or so
SENDING_S = 0.3


def base_name(i):
    return "crash.base.s%03d" % i


def new_name(run, i):
    return "crash.run%03d.m%02d" % (run, i)


def seed_of(name):
    return sum(name.encode()) * 7919


def value_of(seed, t):
    """What a cell gets the first time: different for neighbours in every direction, and exact in a double."""
    return (seed + t * 31) % 1000003 / 8


class Run:
    """What one run sends: for each tick a point of each name, and now and then a late point."""

    def __init__(self, number, start, rng, model):
        self.number = number
        self.start = start
        self.end = start + TICKS
        self.names = [base_name(i) for i in range(BASE_SERIES)] + [new_name(number, i) for i in range(NEW_SERIES)]
        self.seeds = [seed_of(name) for name in self.names]
        self.settled = 0  # so many of the first points, the late ones not counted, must be there
        self.late = []  # (position in the stream, run, name, time, value)
        lines = []
        old = rng.choice(model.runs) if model.runs else None
        for t in range(self.start, self.end):
            lines += ["%s %r %d\n" % (name, value_of(seed, t), t) for name, seed in zip(self.names, self.seeds)]
            for _ in range(20 if t % 7 == 0 and old else 0):
                lines.append(self.add_late_point(rng, old, len(lines)))
        self.text = "".join(lines).encode()

    def add_late_point(self, rng, old, position):
        """Another value for a cell of an earlier run, whose windows are probably sealed."""
        i = rng.randrange(len(old.names))
        t = rng.randrange(old.start, old.end)
        value = value_of(old.seeds[i], t) + 1 + self.number
        self.late.append((position, old, i, t, value))
        return "%s %r %d\n" % (old.names[i], value, t)

    def first_allowed(self, i, t):
        """What the cell of the name I at T may hold when no late point was sent for it."""
        value = value_of(self.seeds[i], t)
        return {value} if (t - self.start) * len(self.names) + i < self.settled else {None, value}


class Model:
    """What may be in the cells."""

    def __init__(self):
        self.runs = []
        self.rewritten = {}  # (name, time): set of values that late points allow; None stands for an empty cell

    def account(self, run, counted):
        """The server has counted the first COUNTED points of RUN before it was killed."""
        run.settled = counted - sum(1 for late in run.late if late[0] < counted)
        for position, old, i, t, value in run.late:
            cell = (old.names[i], t)
            before = self.rewritten.get(cell) or old.first_allowed(i, t)
            self.rewritten[cell] = {value} if position < counted else before | {value}
        run.text = run.late = None
        self.runs.append(run)

    def check_run(self, server, run):
        """All cells of RUN, as /render gives them."""
        found = raw(server, "crash.base.*", run.start, run.end)
        found.update(raw(server, "crash.run%03d.*" % run.number, run.start, run.end))
        for i, name in enumerate(run.names):
            values = found.get(name) or [None] * TICKS
            for t, got in zip(range(run.start, run.end), values):
                if got == value_of(run.seeds[i], t) and (name, t) not in self.rewritten:
                    continue
                allowed = self.rewritten.get((name, t)) or run.first_allowed(i, t)
                check(got in allowed, "%s at %d is %r, not one of %r" % (name, t, got, allowed))


def raw(server, pattern, start, end):
    """{name: values of the seconds START..END-1}."""
    query = urllib.parse.urlencode({"target": pattern, "from": start - 1, "until": end - 1, "format": "raw"})
    answer = server.get("/render?" + query)
    equal(answer.status, 200, "status of render of %s" % pattern)
    found = {}
    for line in answer.text.splitlines():
        head, _, values = line.rpartition("|")
        name, first, last, step = head.rsplit(",", 3)
        equal((int(first), int(last), int(step)), (start, end, 1), "start, end and step of %s" % name)
        found[name] = [None if v == "None" else float(v) for v in values.split(",")]
    return found


class Sender(threading.Thread):
    """Sends a run's text so that it takes about SENDING_S, until it is done or the server is gone."""

    def __init__(self, address, text):
        super().__init__(daemon=True)
        self.address = address
        self.text = text
        self.start()

    def run(self):
        piece = 4096 + 7
        pause = SENDING_S / (len(self.text) / piece)
        try:
            with harness.socket.create_connection(self.address) as c:
                for at in range(0, len(self.text), piece):
                    c.sendall(self.text[at : at + piece])
                    time.sleep(pause)
        except OSError:
            pass


def send_and_kill(server, run, rng):
    """Returns how many points the server had counted at the last question before the kill."""
    connection = server.http()
    counted = 0
    kill_at = time.monotonic() + rng.uniform(0, SENDING_S * 1.2)
    sender = Sender(server.address("carbon"), run.text)
    while time.monotonic() < kill_at:
        answer = server.request("GET", "/metrics", connection=connection)
        counted = int(harness.parse_metrics(answer.text)['plumbago_points_received_total{protocol="tcp"}'])
    server.kill()
    sender.join()
    connection.close()
    return counted


def kill_at_start(server, rng):
    """Kill while it recovers."""
    server.launch()
    time.sleep(rng.uniform(0, 0.05))
    server.kill()


def crash_server():
    server = Server({"seal-grace": 0, "max-open-windows": 6, "sync-interval": 20}, start=False)
    server.flags["schemas"] = os.path.join(server.dir, "storage-schemas.conf")
    with open(server.flags["schemas"], "w") as f:
        f.write("[all]\npattern = .*\nretentions = 1s:7d\n")
    return server.start()


def kill_many_times(server, rng):
    model = Model()
    start = server.now - 500000
    counted_in_all = 0
    for number in range(KILLS):
        run = Run(number, start + number * TICKS, rng, model)
        counted = send_and_kill(server, run, rng)
        counted_in_all += counted
        model.account(run, counted)
        if rng.randrange(8) == 0:
            kill_at_start(server, rng)
        server.restart()
        model.check_run(server, run)
        if number % 25 == 24 or number == KILLS - 1:
            for old in model.runs:
                model.check_run(server, old)
    equal(server.metric("plumbago_damaged_chunks_total"), 0, "damaged chunks")
    if KILLS < 20:  # too few to say whether the test itself has worked
        return counted_in_all
    check(counted_in_all > KILLS * 100, "only %d points were counted before the kills" % counted_in_all)
    check(sum(server.metric_all("plumbago_segments").values()) > 0, "nothing was sealed")
    return counted_in_all


def test_points_that_were_counted_survive_kill_9():
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
    server = crash_server()
    try:
        with server:
            counted = kill_many_times(server, random.Random(seed))
        print("  %d kills, %d points counted before them, SEED=%d" % (KILLS, counted, seed))
    except Failure as e:
        raise Failure("SEED=%d: %s\n%s" % (seed, e, server.log()[-3000:] if os.path.exists(server.log_path) else ""))


def test_a_graceful_stop_loses_nothing_that_has_arrived():
    """SIGTERM while lines are on their way: all that the kernel has taken when it comes are stored."""
    with Server() as server:
        lines = ["stop.m%d %d %d" % (i % 100, i, server.now - 60 * (i // 100)) for i in range(20000)]
        server.send(lines)
        equal(server.stop(), 0, "exit status")
        server.restart()
        for m in (0, 50, 99):
            got = server.points("stop.m%d" % m, from_=server.now - 60 * 200 - 1, until=server.now)
            want = {server.now - 60 * (i // 100): i for i in range(m, 20000, 100)}
            equal(got, want, "stop.m%d" % m)


if __name__ == "__main__":
    harness.main(__name__)
