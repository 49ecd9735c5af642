#!/usr/bin/env python3
"""Real collectors write, and /render gives the same values back.

First the recorded bytes of tests/captures, through TCP and UDP; then collectd itself, alone and through
carbon-c-relay. What must be there is computed by carbon_rules.py, which reads the same bytes by itself.
"""

import contextlib
import glob
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

import carbon_rules
import harness
from harness import ROOT, Failure, Server, check, equal, until

YEARS = 10 * 365 * 86400
SCHEMAS = "[all]\npattern = .*\nretentions = 1s:10y\n"  # every second keeps its own point
TEXT_CAPTURES = ["collectd.txt", "collectd-tags.txt", "collectd-udp.txt", "netdata.txt", "netdata-as-collected.txt",
                 "statsd.txt", "statsd-legacy-namespace.txt", "carbon-c-relay.txt", "carbon-relay-line.txt", "icinga2.txt",
                 "syslog-ng-graphite.txt", "uwsgi-carbon.txt"]


class Store(Server):
    """A server that keeps every second of ten years."""

    def __init__(self, **more):
        super().__init__(flags=more, start=False)
        self.flags["schemas"] = os.path.join(self.dir, "storage-schemas.conf")
        with open(self.flags["schemas"], "w") as f:
            f.write(SCHEMAS)
        self.start()


def raw_value(store, connection, name, t):
    """The value of NAME at second T, by /render?format=raw, which tells infinities from None; None when there is none."""
    # In a target, braces, commas and the like mean something; "?" stands for any one character of a name.
    target = re.sub(r"[^A-Za-z0-9_.:;=~/-]", "?", name)
    query = urllib.parse.urlencode({"target": target, "from": t - 1, "until": t, "format": "raw"})
    answer = store.request("GET", "/render?" + query, connection=connection)
    equal(answer.status, 200, "status of render of %s" % name)
    for line in answer.text.splitlines():
        head, _, values = line.rpartition("|")
        found, start, end, step = head.rsplit(",", 3)
        if found == name:
            equal((int(start), int(step)), (t, 1), "start and step of %s" % name)
            return None if values == "None" else float(values)
    return None


def compare(store, points):
    """Every one of POINTS, {(name, time): value}, is in the store."""
    connection = store.http()
    for (name, t), value in points.items():
        got = raw_value(store, connection, name, t)
        check(got == value, "%s at %d is %r, not %r" % (name, t, got, value))
    connection.close()


def reasons(store, protocol):
    """{reason: count} of what was rejected."""
    found = {}
    for labels, count in store.metric_all("plumbago_points_rejected_total").items():
        reason = re.search(r'reason="(\w+)"', labels).group(1)
        if 'protocol="%s"' % protocol in labels and count:
            found[reason] = int(count)
    return found


def lines_taken(store, protocol):
    return int(store.metric('plumbago_lines_total{protocol="%s"}' % protocol))


def wait_lines(store, protocol, data):
    count = sum(1 for line in data.split(b"\n") if line.strip())
    until(lambda: lines_taken(store, protocol) >= count, "%d lines by %s" % (count, protocol))
    equal(lines_taken(store, protocol), count, "lines")


NOW = 1 << 61  # stands for "now" in what is expected; no point has this time


def expected(data):
    return carbon_rules.parse_all(data, NOW, int(time.time()) - YEARS, NOW)


def capture(name):
    with open(os.path.join(ROOT, "tests", "captures", name), "rb") as f:
        return f.read()


def replay(send, protocol, data):
    """Send DATA to a fresh server by SEND(store, data) and compare everything."""
    before = int(time.time())
    want, refused = expected(data)
    with Store(**{"max-future": "31536000"}) as store:
        send(store, data)
        wait_lines(store, protocol, data)
        equal(reasons(store, protocol), refused, "rejected")
        compare(store, {key: value for key, value in want.items() if key[1] != NOW})
        after = int(time.time())
        connection = store.http()
        for name, value in [(name, value) for (name, t), value in want.items() if t == NOW]:
            values = [raw_value(store, connection, name, t) for t in range(before, after + 1)]
            check(value in values, "%s has %r now, not %r" % (name, values, value))
        connection.close()
    return len(want)


def test_every_text_capture_is_stored_point_by_point_by_tcp():
    total = 0
    for name in TEXT_CAPTURES:
        try:
            total += replay(lambda store, data: store.send(data), "tcp", capture(name))
        except Failure as e:
            raise Failure("%s: %s" % (name, e))
    check(total > 800, "only %d points" % total)


def test_no_text_capture_is_forgotten():
    found = {os.path.basename(p) for p in glob.glob(os.path.join(ROOT, "tests", "captures", "*.txt"))}
    found = {n for n in found if not n.endswith(("expected.txt", "decoded.txt"))}
    equal(found, set(TEXT_CAPTURES), "text captures")


def test_captures_cut_at_any_byte_are_the_same():
    data = b"".join(capture(n) for n in TEXT_CAPTURES)

    def send_in_pieces(store, everything):
        with socket.create_connection(store.address("carbon")) as c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            at = 0
            while at < len(everything):  # sizes without a common factor with anything
                n = 1 + at * 7919 % 211
                c.sendall(everything[at : at + n])
                at += n

    replay(send_in_pieces, "tcp", data)


def test_captures_are_stored_by_udp():
    def datagrams(store, data):
        lines = data.splitlines(keepends=True)
        while lines:
            batch = b""
            while lines and len(batch) + len(lines[0]) <= 1400:
                batch += lines.pop(0)
            store.send_udp(batch.rstrip(b"\n"))  # the last line of a datagram may lack its LF

    replay(datagrams, "udp", capture("collectd-udp.txt"))
    replay(datagrams, "udp", capture("statsd.txt"))


def test_odd_lines_mean_what_carbon_says():
    odd = (b"a.plus +4.5 1700000000\nb.dot .5 1700000000\nc.exp 1e3 1700000000\nd.under 1_000 1700000000\n"
           b"e.inf inf 1700000000\nf.ninf -Infinity 1700000000\ng.huge 1e400 1700000000\nh.nan nan 1700000000\n"
           b"i.hex 0x10 1700000000\nj.float 1 1700000000.999\nk.minus 1 -1.5\n\tl.tab\t2\t1700000000 \r\n"
           b"m..dots 1 1700000000\n.n.lead 2 1700000000\no/slash 3 1700000000\np;z=1;a=2 4 1700000000\n"
           b'q{b="1",a="two"} 5 1700000000\nr;x=1;x=2 6 1700000000\ns;name=foo;x=1 7 1700000000\n~t.e;a=1 8 1700000000\n'
           b"u;bad 1 1700000000\nv;=1 1 1700000000\nw;x= 1 1700000000\n... 1 1700000000\ntwo words 1 1700000000\n"
           b"x\xff 1 1700000000\ncaf\xc3\xa9.\xe2\x82\xac 9 1700000000\ny 1 1700000000\ny 2 1700000000\nz.old 1 5\n"
           b"last.without.end 10 1700000000")
    replay(lambda store, data: store.send(data), "tcp", odd)


# ---- real programs ----


def need(program):
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        print("skip: %s is not installed" % program)
    return found


def free_port():
    """A port for a program that cannot choose one itself; outside of the range from which connections get theirs."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Recorder:
    """Listens like a carbon server, keeps what comes, and may pass it on."""

    def __init__(self, udp=False):
        self.data = b""
        self.open = 0
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        if not udp:
            self.socket.listen()
        threading.Thread(target=self.datagrams if udp else self.accept, daemon=True).start()

    def keep(self, piece):
        with self.lock:
            self.data += piece

    def datagrams(self):
        while True:
            try:
                self.keep(self.socket.recv(65536))
            except OSError:
                return

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection):
        self.open += 1
        while True:
            try:
                piece = connection.recv(65536)
            except OSError:
                piece = b""
            if not piece:
                self.open -= 1
                return
            self.keep(piece)

    def whole_lines(self):
        with self.lock:
            return self.data[: self.data.rfind(b"\n") + 1]


class Program:
    """A program with a configuration file of its own."""

    def __init__(self, config, *command):
        self.dir = tempfile.mkdtemp(prefix="plumbago-program-")
        self.conf = os.path.join(self.dir, "conf")
        with open(self.conf, "w") as f:
            f.write(config.replace("@DIR@", self.dir))
        self.log = open(os.path.join(self.dir, "log"), "ab")
        words = [w.replace("@CONF@", self.conf) for w in command]
        self.process = subprocess.Popen(words, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def said(self):
        """The end of its log."""
        if os.path.exists(self.log.name):
            with open(self.log.name, errors="replace") as f:
                self.end_of_log = f.read()[-2000:]
        return self.end_of_log

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(harness.DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


COLLECTD = """
Hostname "web01.example.com"
FQDNLookup false
BaseDir "@DIR@"
PIDFile "@DIR@/pid"
Interval 1
ReadThreads 1
WriteThreads 1
LoadPlugin logfile
<Plugin logfile>
  File STDOUT
</Plugin>
LoadPlugin cpu
LoadPlugin memory
LoadPlugin load
LoadPlugin write_graphite
<Plugin write_graphite>
%s
</Plugin>
"""
NODE = """  <Node "%s">
    Host "127.0.0.1"
    Port "%d"
    Protocol "%s"
    Prefix "collectd."
    EscapeCharacter "_"
    UseTags %s
    StoreRates true
  </Node>
"""


def run_collectd(port, protocol, tags, seconds):
    """Run collectd against PORT until it has sent SECONDS different seconds; what it sent, recorded by a second node."""
    recorder = Recorder(udp=protocol == "udp")
    nodes = "".join(NODE % (name, number, protocol, "true" if tags else "false")
                    for name, number in (("server", port), ("copy", recorder.port)))

    def enough():
        times = {line.split()[2] for line in recorder.whole_lines().splitlines() if line.count(b" ") == 2}
        return len(times) > seconds

    with Program(COLLECTD % nodes, need("collectd"), "-f", "-C", "@CONF@") as program:
        until(lambda: enough() or program.process.poll() is not None, "%d seconds of collectd" % seconds)
        check(program.process.poll() is None, "collectd has ended: " + program.said())
    until(lambda: recorder.open == 0, "the end of what collectd has sent")
    recorder.socket.close()
    return recorder.whole_lines()


def collectd_into_the_server(protocol, tags):
    with Store() as store:
        data = run_collectd(store.address("carbon_udp" if protocol == "udp" else "carbon")[1], protocol, tags, 3)
        want, refused = expected(data)
        names = {name for name, _ in want}
        for part in ("cpu", "memory", "load"):
            check(any(part in n for n in names), "collectd has sent nothing of %s" % part)
        until(lambda: lines_taken(store, protocol) >= len(data.splitlines()), "all lines of collectd")
        compare(store, want)
        equal(set(reasons(store, protocol)) - {"nan"}, set(refused) - {"nan"}, "reasons")
        if not tags:
            found = [n["text"] for n in store.find("collectd.*.load.load.*")]
            equal(sorted(found), ["longterm", "midterm", "shortterm"], "the load as the tree shows it")


def test_collectd_writes_by_tcp():
    if need("collectd"):
        collectd_into_the_server("tcp", False)


def test_collectd_writes_tags():
    if need("collectd"):
        collectd_into_the_server("tcp", True)


def test_collectd_writes_by_udp():
    if need("collectd"):
        collectd_into_the_server("udp", False)


RELAY = """
listen type linemode 127.0.0.1:%d proto tcp 127.0.0.1:%d proto udp;
cluster plumbago forward 127.0.0.1:%d proto tcp;
match ^carbon\\.relays\\. send to blackhole stop;
match * send to plumbago stop;
"""


class Relay(Program):
    """carbon-c-relay in front of STORE, listening at .port."""

    def __init__(self, store):
        self.port = free_port()
        config = RELAY % (self.port, self.port, store.address("carbon")[1])
        super().__init__(config, need("carbon-c-relay"), "-f", "@CONF@", "-w", "2")
        until(lambda: self.ended() or "listening on udp" in self.said(), "carbon-c-relay at port %d" % self.port)

    def ended(self):
        return self.process.poll() is not None

    def passes(self, store):
        """Whether a line has gone through. Version 3.7.3 dies of a connection that comes too early in its start."""
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as c:
                c.sendall(b"relay.probe 1 %d\n" % time.time())
        except OSError:
            pass
        until(lambda: self.ended() or store.received() > 0, "a line through the relay: " + self.said())
        return not self.ended()


@contextlib.contextmanager
def relay_to(store):
    for _ in range(20):
        with Relay(store) as relay:
            if relay.passes(store):
                yield relay
                return
    raise Failure("carbon-c-relay ends at once: " + relay.said())


def test_collectd_writes_through_carbon_c_relay():
    if not (need("collectd") and need("carbon-c-relay")):
        return
    with Store() as store, relay_to(store) as relay:
        data = run_collectd(relay.port, "tcp", False, 3)
        want, _ = expected(data)
        until(lambda: store.received() > len(want), "%d points through the relay" % len(want))
        compare(store, want)


def test_a_flood_through_carbon_c_relay_arrives_whole():
    if not need("carbon-c-relay"):
        return
    count = 20000
    start = int(time.time()) - count
    with Store() as store, relay_to(store) as relay:
        with socket.create_connection(("127.0.0.1", relay.port)) as c:
            for first in range(0, count, 1000):
                c.sendall(b"".join(b"flood.m%d %d %d\n" % (i % 50, i, start + i) for i in range(first, first + 1000)))
        try:
            until(lambda: store.received() > count, "all points through the relay", 60)
        except Failure as e:
            raise Failure("%s: %d stored, %s rejected; %s" % (e, store.received(), reasons(store, "tcp"), relay.said()))
        for m in (0, 17, 49):
            got = store.points("flood.m%d" % m, from_=start - 1, until=start + count)
            equal(got, {start + i: i for i in range(m, count, 50)}, "flood.m%d" % m)


if __name__ == "__main__":
    harness.main(__name__)
