"""Starts a real plumbago in a temporary directory, talks to it, and runs the test_* functions of a file.

    import harness
    from harness import Server, check, equal, until

    def test_a_point_can_be_read_back():
        with Server() as s:
            s.send("a.b 1 %d" % s.now)
            ...

    if __name__ == "__main__":
        harness.main(__name__)

Every server listens on ports that the kernel chooses and is found by DIR/listening.json. Nothing sleeps to wait for
something: until() asks again and again until a deadline. PLUMBAGO names the binary (default build/plumbago). With
KEEP=1 in the environment the temporary directories stay. Words on the command line choose tests by part of their name.
"""

import atexit
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLUMBAGO = os.path.join(ROOT, os.environ.get("PLUMBAGO", "build/plumbago"))
DEADLINE = float(os.environ.get("DEADLINE", "30"))  # seconds; sanitizers and a busy machine are slow

_living = []


class Failure(Exception):
    """What a test found wrong."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(got, want, what="value"):
    if got != want:
        raise Failure("%s is %.600r, not %.600r" % (what, got, want))


def until(question, what, deadline=None):
    """Ask until the answer is true; returns it. Fails with WHAT after DEADLINE seconds."""
    end = time.monotonic() + (deadline or DEADLINE)
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure("not within %g s: %s" % (deadline or DEADLINE, what))
        time.sleep(0.005)


class Answer:
    """An HTTP answer: status, reason, headers (names in lower case), body (bytes)."""

    def __init__(self, status, reason, headers, body):
        self.status = status
        self.reason = reason
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def type(self):
        return self.headers.get("content-type", "").split(";")[0]

    def __repr__(self):
        return "<%d %s %r>" % (self.status, self.type, self.body[:300])


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self.path)


class Server:
    """One data directory and the process that serves it. FLAGS are added to the command line: {"log-level": "debug"};
    a value of None leaves out a flag that is given by default."""

    def __init__(self, flags=None, start=True, env=None):
        self.dir = tempfile.mkdtemp(prefix="plumbago-e2e-")
        self.data = os.path.join(self.dir, "data")
        self.log_path = os.path.join(self.dir, "log")
        self.flags = {
            "data-dir": self.data,
            "carbon": "127.0.0.1:0",
            "carbon-udp": "127.0.0.1:0",
            "http": "127.0.0.1:0",
            "self-metrics": "off",
        }
        self.flags.update(flags or {})
        self.env = env
        self.process = None
        self.now = int(time.time()) // 60 * 60  # a time that is aligned to the steps of the built-in schema
        _living.append(self)
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- the process ----

    def command(self):
        words = [PLUMBAGO]
        for name, value in self.flags.items():
            if value is not None:
                words += ["--" + name, str(value)]
        return words

    def launch(self):
        """Start without waiting."""
        env = dict(os.environ, **(self.env or {}))
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        log.close()

    def start(self):
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self):
        path = os.path.join(self.data, "listening.json")

        def listening():
            if self.process.poll() is not None:
                raise Failure("the server ended with %s: %s" % (self.process.returncode, self.log()[-2000:]))
            try:
                with open(path) as f:
                    found = json.load(f)
            except FileNotFoundError:
                return None
            return found if found["pid"] == self.process.pid else None

        self.listening = until(listening, "listening.json of pid %d" % self.process.pid)

    def address(self, name):
        """("127.0.0.1", 12345) of "carbon", "carbon_udp" or "http"."""
        host, port = self.listening[name].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def wait_end(self):
        """The exit status."""
        return until(lambda: self.process.poll() is not None, "end of the process") and self.process.returncode

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        """After stop() or kill(): the same directory again."""
        return self.start()

    def close(self):
        if self not in _living:
            return
        _living.remove(self)
        status = None
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                status = self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                status = "no end within %g s" % DEADLINE
        log = self.log() if os.path.exists(self.log_path) else ""
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(self.dir, ignore_errors=True)
        for sign in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:"):
            if sign in log:
                raise Failure("%s\n%s" % (sign, log[log.index(sign) :][:6000]))
        if status not in (None, 0):
            raise Failure("the server ended with %s: %s" % (status, log[-2000:]))

    # ---- carbon ----

    def send(self, lines):
        """Send lines over one TCP connection of their own. LINES: a text, bytes, or a list of lines."""
        with socket.create_connection(self.address("carbon"), timeout=DEADLINE) as c:
            c.sendall(as_bytes(lines))

    def send_udp(self, lines):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
            c.sendto(as_bytes(lines), self.address("carbon_udp"))

    def received(self):
        """Points stored since start, by all protocols."""
        return int(sum(self.metric_all("plumbago_points_received_total").values()))

    def rejected(self):
        return int(sum(self.metric_all("plumbago_points_rejected_total").values()))

    def wait_received(self, count):
        until(lambda: self.received() >= count, "%d points received" % count)

    def feed(self, lines):
        """Send LINES, all of them good ones, and wait until they are stored."""
        before = self.received()
        lines = [line for line in as_bytes(lines).split(b"\n") if line]
        self.send(b"\n".join(lines) + b"\n")
        self.wait_received(before + len(lines))

    # ---- HTTP ----

    def connect(self, timeout=None):
        """A plain socket to the HTTP port."""
        return socket.create_connection(self.address("http"), timeout=timeout or DEADLINE)

    def http(self):
        """A keep-alive connection."""
        host, port = self.address("http")
        return http.client.HTTPConnection(host, port, timeout=DEADLINE)

    def request(self, method, path, body=None, headers=None, connection=None):
        c = connection or self.http()
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        answer = Answer(r.status, r.reason, r.getheaders(), r.read())
        if connection is None:
            c.close()
        return answer

    def get(self, path, params=None, headers=None):
        return self.request("GET", with_query(path, params), headers=headers)

    def post(self, path, form=None, params=None, headers=None):
        given = {"Content-Type": "application/x-www-form-urlencoded"}
        given.update(headers or {})
        body = form if isinstance(form, (str, bytes)) else urllib.parse.urlencode(form or {}, doseq=True)
        return self.request("POST", with_query(path, params), body=body, headers=given)

    def admin(self, path, method="POST"):
        c = UnixConnection(self.listening["admin"])
        c.request(method, path)
        r = c.getresponse()
        answer = Answer(r.status, r.reason, r.getheaders(), r.read())
        c.close()
        return answer

    def render(self, target, **params):
        """Series as /render?format=json gives them. from_=... stands for "from"."""
        params = {name.rstrip("_"): value for name, value in params.items()}
        answer = self.get("/render", dict({"target": target, "format": "json"}, **params))
        equal(answer.status, 200, "status of render (%r)" % answer)
        return answer.json

    def points(self, target, **params):
        """{time: value} of the one series that TARGET gives, without nulls."""
        found = self.render(target, **params)
        equal(len(found), 1, "number of series of %s" % target)
        return {t: v for v, t in found[0]["datapoints"] if v is not None}

    def find(self, query, **params):
        answer = self.get("/metrics/find", dict({"query": query}, **params))
        equal(answer.status, 200, "status of find (%r)" % answer)
        return answer.json

    def metrics(self):
        """/metrics as {"name{labels}": number}."""
        answer = self.get("/metrics")
        equal(answer.status, 200, "status of /metrics")
        return parse_metrics(answer.text)

    def metric_all(self, name):
        """The samples of one name, by their labels as text."""
        return {k[len(name) :]: v for k, v in self.metrics().items() if re.fullmatch(re.escape(name) + r"(\{.*\})?", k)}

    def metric(self, name):
        return self.metrics()[name]


def parse_metrics(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def as_bytes(lines):
    if isinstance(lines, bytes):
        return lines
    if isinstance(lines, str):
        return (lines if lines.endswith("\n") else lines + "\n").encode()
    return "".join(line + "\n" for line in lines).encode()


def with_query(path, params):
    return path + "?" + urllib.parse.urlencode(params, doseq=True) if params else path


def raw_http(address, request):
    """Send bytes, return everything that comes until the server closes."""
    with socket.create_connection(address, timeout=DEADLINE) as c:
        c.sendall(request)
        got = b""
        while True:
            piece = c.recv(65536)
            if not piece:
                return got
            got += piece


def read_answer(c):
    """One answer from a plain socket, without reading beyond it."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = c.recv(1)
        check(piece, "closed within the head: %r" % got)
        got += piece
    head, _, _ = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    _, status, reason = lines[0].split(" ", 2)
    headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
    length = int(dict((n.lower(), v) for n, v in headers).get("content-length", "0"))
    body = b""
    while len(body) < length:
        piece = c.recv(length - len(body))
        check(piece, "closed within the body")
        body += piece
    return Answer(int(status), reason, headers, body)


@atexit.register
def _kill_what_is_left():
    for server in list(_living):
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(server.dir, ignore_errors=True)


def main(name):
    """Run the test_* functions of the module NAME in their order, print `ok NAME` or `FAIL NAME: why` for each and
    `N passed, N failed` at the end; exit 1 when one has failed."""
    module = sys.modules[name]
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    wanted = sys.argv[1:]
    passed = failed = 0

    if not os.access(PLUMBAGO, os.X_OK):
        print("FAIL: %s is not there; run make, or set PLUMBAGO" % PLUMBAGO)
        sys.exit(1)
    for test, function in tests:
        if wanted and not any(word in test for word in wanted):
            continue
        try:
            function()
            print("ok %s" % test, flush=True)
            passed += 1
        except Failure as e:
            print("FAIL %s: %s" % (test, e), flush=True)
            failed += 1
        except Exception:  # noqa: BLE001 - a test that breaks is a test that fails
            print("FAIL %s: %s" % (test, traceback.format_exc()), flush=True)
            failed += 1
        for server in list(_living):  # a failed test may have left one
            if server.process is not None and server.process.poll() is None:
                server.process.kill()
                server.process.wait()
            _living.remove(server)
            if os.environ.get("KEEP") != "1":
                shutil.rmtree(server.dir, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)
