"""The part `render` of bench/run: dashboards' requests to plumbago, victoria-metrics and graphite-web over whisper, with
the same points.

wide.g<0-9>.s<000-999> are 10,000 series of the last hour, deep.d<00-99> are 100 of a day; a step of 10 s."""

import http.client
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEP, WIDE, DEEP = 10, 360, 8640

# What is asked, the target, seconds before the end, more parameters, and the same in MetricsQL (None: not there).
REQUESTS = [
    ("1 series, 8,640 points", ["deep.d00"], 86390, {}, '{__name__="deep.d00"}'),
    ("same, maxDataPoints=500", ["deep.d00"], 86390, {"maxDataPoints": 500},
     'avg_over_time({__name__="deep.d00"}[180s])'),
    ("sumSeries, 1,000 x 360", ["sumSeries(wide.g0.*)"], 3590, {}, 'sum({__graphite__="wide.g0.*"})'),
    ("groupByNode, 10,000 x 60", ['groupByNode(wide.*.*,1,"sum")'], 590, {},
     'sum(label_graphite_group({__graphite__="wide.*.*"},1)) by (__name__)'),
    ("movingAverage, 100 x 8,640", ["movingAverage(deep.*,10)"], 86390, {},
     'avg_over_time({__graphite__="deep.*"}[100s])'),
    ("highestAverage 10 of 10,000 x 60", ["highestAverage(wide.*.*,10)"], 590, {},
     'topk_avg(10,{__graphite__="wide.*.*"})'),
    ("holtWintersConfidenceBands, 10", ["holtWintersConfidenceBands(deep.d0*)"], 3590, {}, None),
    ("50 targets of 10 x 360", ["sumSeries(wide.g%d.s%02d*)" % (i % 10, i) for i in range(50)], 3590, {}, None),
]


def all_series(end):
    """(name, time of the first value, values) of everything."""
    rng = random.Random(1)
    for group in range(10):
        for i in range(1000):
            yield f"wide.g{group}.s{i:03}", end - (WIDE - 1) * STEP, [rng.randrange(10000) / 100 for _ in range(WIDE)]
    for i in range(100):
        yield f"deep.d{i:02}", end - (DEEP - 1) * STEP, [rng.randrange(10000) / 100 for _ in range(DEEP)]


def send(address, series):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as c:
        for name, start, values in series:
            c.sendall("".join(f"{name} {v} {start + i * STEP}\n" for i, v in enumerate(values)).encode())


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def render_path(targets, start, until, more):
    query = [("target", t) for t in targets] + [("from", start - 1), ("until", until), ("format", "json")]
    return "/render?" + urllib.parse.urlencode(query + list(more.items()))


def metricsql_path(query, start, until, more):
    step = 180 if more else STEP
    return "/api/v1/query_range?" + urllib.parse.urlencode(
        {"query": query, "start": start, "end": until, "step": step, "nocache": 1})


WRITE_WHISPER = r"""
import json, os, sys
import whisper
for line in sys.stdin:
    name, start, step, values = json.loads(line)
    path = os.path.join(sys.argv[1], *name.split(".")) + ".wsp"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    whisper.create(path, [(step, 720 if name.startswith("wide") else 17280)])
    whisper.update_many(path, [(start + i * step, v) for i, v in enumerate(values)])
"""


class Graphite:
    """graphite-web over whisper files; the points are written to these directly."""
    name = "graphite-web"

    def __init__(self, base, series):
        sys.path.insert(0, str(ROOT / "tests" / "e2e"))
        sys.dont_write_bytecode = True
        import graphite_web
        self.folder = tempfile.TemporaryDirectory(prefix="whisper-bench-", dir=base)
        writer = subprocess.Popen([graphite_web.PYTHON, "-c", WRITE_WHISPER, self.folder.name], stdin=subprocess.PIPE,
                                  text=True)
        for name, start, values in series:
            writer.stdin.write(json.dumps([name, start, STEP, values]) + "\n")
        writer.stdin.close()
        if writer.wait() != 0:
            raise RuntimeError("the whisper files could not be written")
        graphite_web.SETTINGS += (f"STORAGE_FINDERS = ['graphite.finders.standard.StandardFinder']\n"
                                  f"CLUSTER_SERVERS = []\nWHISPER_DIR = {self.folder.name!r}\n"
                                  f"STANDARD_DIRS = [WHISPER_DIR]\nCARBONLINK_HOSTS = []\n")
        self.web = graphite_web.GraphiteWeb([])
        self.pid = self.web.process.pid
        self.http = self.web.url[len("http://"):]

    def close(self):
        self.web.close()
        self.folder.cleanup()


def times_of(address, path, count):
    """Milliseconds of COUNT requests, each on a connection of its own; the first one more is not counted."""
    took = []
    for _ in range(count + 1):
        begun = time.monotonic()
        c = http.client.HTTPConnection(address, timeout=300)
        c.request("GET", path)
        answer = c.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {body[:200]}")
        took.append((time.monotonic() - begun) * 1000)
        c.close()
    return sorted(took[1:])


def row(bench, server, pid, what, path):
    """One line of the table; the number of requests is what fits into about two seconds."""
    slow = server.name == "graphite-web"
    first = times_of(server.http, path, 1)[0]
    count = int(min(max(2000 / first, 3), 1000))
    before = cpu_seconds(pid)
    if slow:
        took = times_of(server.http, path, count)
        p50, p99 = statistics.median(took), took[-1]
    else:
        r = bench.tool("http_load", server.http, path, count)
        p50, p99 = r["p50_ms"], r["p99_ms"]
    cpu_ms = (cpu_seconds(pid) - before) * 1000 / (count + 1)
    return [server.name, what, count, f"{p50:.2f}", f"{p99:.2f}", f"{cpu_ms:.2f}"]


def measure(bench, server, pid, end, rows):
    for what, targets, back, more, metricsql in REQUESTS:
        if server.name != "victoria-metrics":
            path = render_path(targets, end - back, end, more)
        elif metricsql is None:
            continue
        else:
            path = metricsql_path(metricsql, end - back, end, more)
        try:
            rows.append(row(bench, server, pid, what, path))
        except Exception as e:      # a peer may refuse one request and answer the next
            rows.append([server.name, what, "-", "-", "-", str(e).strip().splitlines()[-1][:60]])


def with_ratios(rows):
    """Each peer's CPU time by plumbago's in the last column."""
    ours = {r[1]: float(r[5]) for r in rows if r[0] == "plumbago" and r[2] != "-"}
    out = []
    for r in rows:
        known = r[2] != "-" and ours.get(r[1], 0) > 0
        out.append(r + [f"{float(r[5]) / ours[r[1]]:.1f}" if known else "-"])
    return out


def run(bench, end):
    """Rows of the table: server, request, count, p50 ms, p99 ms, CPU ms, CPU time by plumbago's."""
    rows = []
    for open_server in bench.peers:
        server = open_server()
        try:
            send(server.carbon, all_series(end))
            server.settle()
            measure(bench, server, server.process.pid, end, rows)
        finally:
            server.close()
    if os.path.exists("/usr/lib/python3/dist-packages/graphite/wsgi.py") and len(bench.peers) > 1:
        server = Graphite(bench.base, all_series(end))
        try:
            measure(bench, server, server.pid, end, rows)
        finally:
            server.close()
    return with_ratios(rows)
