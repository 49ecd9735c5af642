#!/usr/bin/env python3
"""Clients that send garbage, half requests and whole ones, and leave when they like. SEED=n repeats a run."""

import os
import random
import socket
import threading

import harness
from harness import Server, check, equal, until

CLIENTS, CONNECTIONS = 6, 60

PIECES = [b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"/render", b"/metrics/find", b"/metrics/expand", b"/functions/", b"?",
          b"target=", b"a.*", b"sumSeries(", b"a.b1", b")", b"&", b"from=-1h", b"format=", b"json", b"pickle", b"query=",
          b"{a,b}", b"[", b"**", b" HTTP/1.1\r\n", b"Host: x\r\n", b"Content-Length: 10\r\n", b"\r\n", b"5\r\nhello\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"0\r\n\r\n", b"\0",
          b"Accept-Encoding: gzip\r\n", b"\xff", b"x" * 5000, b"jsonp=cb", b"--B\r\n",
          b"Content-Type: multipart/form-data; boundary=B\r\n", b'Content-Disposition: form-data; name="target"\r\n']
TARGETS = [b"a.*", b"sumSeries(a.**)", b"movingAverage(a.b1,5)", b'alias(a.b1,"x")', b"nosuch(a)", b"a.b[", b"((((("]
PATHS = [b"/metrics", b"/healthz", b"/metrics/index.json", b"/functions", b"/metrics/find?query=a.*&format=completer"]


def one_request(r):
    if r.random() < 0.5:
        return b"".join(r.choice(PIECES) for _ in range(r.randrange(30)))
    path = r.choice(PATHS)
    if r.random() < 0.6:
        path = b"/render?target=%s&from=-1h&format=%s" % (r.choice(TARGETS), r.choice([b"json", b"raw", b"csv", b"pickle"]))
    return b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, r.choice([b"", b"Accept-Encoding: gzip\r\n", b"Connection: close\r\n"]))


def misbehave(s, seed):
    r = random.Random(seed)
    for _ in range(CONNECTIONS):
        try:
            with s.connect() as c:
                for _ in range(r.randrange(1, 5)):
                    c.settimeout(harness.DEADLINE)
                    c.sendall(b"".join(one_request(r) for _ in range(r.randrange(1, 4))))
                    c.settimeout(r.choice([0.001, 0.01]))
                    try:
                        c.recv(r.choice([1, 100, 100000]))
                    except socket.timeout:
                        pass
                if r.random() < 0.3:  # leave with a reset
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        except OSError:
            pass  # the server has closed first, as it may


def test_nothing_that_clients_send_ends_the_server_or_stays_in_its_memory():
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    with Server({"http-receive-timeout": "2"}) as s:
        s.feed(["a.b%d %d %d" % (i, k, s.now - 10 * k) for i in range(100) for k in range(30)])
        clients = [threading.Thread(target=misbehave, args=(s, seed + i)) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        try:
            until(lambda: s.metric("plumbago_http_connections") == 1, "all connections closed but the one that asks")
            found = s.metrics()
            check(found["plumbago_http_connections_total"] >= CLIENTS * CONNECTIONS, "connections")
            check(found["plumbago_http_buffer_bytes"] < 4096, "%d bytes held" % found["plumbago_http_buffer_bytes"])
            equal(len(s.points("a.b7", from_=s.now - 300, until=s.now)), 30)
            equal(s.stop(), 0)
        except harness.Failure as e:
            raise harness.Failure("SEED=%d: %s" % (seed, e))


if __name__ == "__main__":
    harness.main(__name__)
