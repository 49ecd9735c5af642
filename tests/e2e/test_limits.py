#!/usr/bin/env python3
"""A storm of new names: the server stays below memory-limit, says so, and serves the series that it knows. A file that
is cut under it costs the points in that file and nothing else."""

import glob
import os
import re
import threading

import harness
from harness import Server, check, equal, until

MIB = 1 << 20
KNOWN = 500
BATCH = 20000


def anonymous_bytes(server):
    """Memory that no file stands behind."""
    with open("/proc/%d/status" % server.process.pid) as f:
        return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1)) * 1024


def refused(server, reason):
    return server.metric('plumbago_series_refused_total{reason="%s"}' % reason)


def known_lines(server, value):
    return ["known.host%d.cpu %d %d" % (i, value, server.now) for i in range(KNOWN)]


def counted(server, lines):
    """Send LINES and wait until each is stored or refused; how many were stored."""
    stored, before = server.received(), server.received() + server.rejected()
    server.send(lines)
    until(lambda: server.received() + server.rejected() >= before + len(lines), "all lines to be counted")
    return server.received() - stored


class Watch(threading.Thread):
    """The largest anonymous memory of a server while this runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.most = 0
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.02):
            try:
                self.most = max(self.most, anonymous_bytes(self.server))
            except OSError:
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def storm(server, shape, batches):
    """Names that nobody has sent before, until a batch of them is refused as a whole. How many were stored."""
    stored = 0
    for n in range(batches):
        lines = [shape(n * BATCH + i) + " 1 %d" % server.now for i in range(BATCH)]
        got = counted(server, lines)
        stored += got
        if got == 0:
            return stored
    raise harness.Failure("%d new names, and none refused" % stored)


def test_a_storm_of_names_stays_below_the_memory_limit():
    limit = 160 * MIB
    shapes = {
        "hosts": lambda i: "hosts.h%08x%08x.up" % (i * 2654435761 % 2**32, i),
        "leaves": lambda i: "leaves.all.in.one.branch.m%d" % i,
        "tags": lambda i: "request;host=h%d;id=%08x" % (i % 1000, i * 2654435761 % 2**32),
    }
    for what, shape in shapes.items():
        with Server({"memory-limit": str(limit), "self-metrics": "off"}) as server, Watch(server) as watch:
            equal(counted(server, known_lines(server, 1)), KNOWN, "known series")
            stored = storm(server, shape, 100)
            check(stored > BATCH, "%d %s" % (stored, what))
            check(refused(server, "memory_limit") >= BATCH, "refusals by reason")
            equal(server.metric("plumbago_index_full"), 1, "plumbago_index_full")
            check(server.metric("plumbago_index_bytes") <= server.metric("plumbago_index_bytes_limit"), "the index")
            equal(len(re.findall("points of new names are refused", server.log())), 1, "lines of the log")
            check("memory_limit" in server.get("/readyz").text, "/readyz")
            equal(server.get("/readyz").status, 200, "/readyz")
            equal(counted(server, known_lines(server, 2)), KNOWN, "known series")
            equal(server.points("known.host7.cpu", from_=server.now - 10, until=server.now)[server.now], 2, "their value")
            for _ in range(5):
                server.get("/render", {"target": "sum(known.*.cpu)", "from": "-1d", "format": "json"})
                server.get("/metrics/find", {"query": "*.*"})
            check(watch.most < limit, "%d MiB of %d for %s" % (watch.most // MIB, limit // MIB, what))
            print("%s: %d names, at most %d MiB anonymous" % (what, stored, watch.most // MIB))


def test_so_many_new_names_in_a_minute():
    with Server({"max-creates-per-minute": "100", "self-metrics": "off"}) as server:
        got = counted(server, ["new.n%d 1 %d" % (i, server.now) for i in range(1000)])
        check(100 <= got < 200, "%d were created" % got)
        equal(refused(server, "create_limit"), 1000 - got, "refused")
        equal(counted(server, ["new.n%d 2 %d" % (i, server.now) for i in range(100)]), 100, "known names")


def test_a_segment_that_is_cut_is_damage_of_its_points():
    with Server({"self-metrics": "off"}) as server:
        start = server.now - server.now % 1200 - 2400
        lines = ["cut.m%d %d.25 %d" % (i, i * 7919 % 10007, start + w * 1200) for i in range(300) for w in range(2)]
        server.feed(lines)
        equal(server.admin("/admin/seal").status, 200, "sealing")
        files = sorted(glob.glob(os.path.join(server.data, "**", "*.seg"), recursive=True))
        check(len(files) >= 2, "segments: %s" % files)

        def left():
            got = server.render("cut.*", from_=start - 1, until=start + 2400)
            return sum(v is not None for one in got for v, _ in one["datapoints"])

        equal(left(), 600, "points at first")
        os.truncate(files[0], 0)
        equal(left(), 300, "points when a file is cut")
        check(server.metric("plumbago_damaged_chunks_total") > 0, "plumbago_damaged_chunks_total")
        check(files[0] in server.log(), "the file's name in the log")
        server.feed("cut.m1 1 %d" % server.now)
        equal(server.get("/readyz").status, 200, "/readyz")
        equal(server.stop(), 0, "exit status")


if __name__ == "__main__":
    harness.main(__name__)
