#!/usr/bin/env python3
"""Carbon's listeners under odd senders: many short connections, connections that never finish, bytes that mean nothing.
At the end of each test sent = stored + refused, exactly."""

import os
import random
import signal
import socket
import threading

import harness
from harness import Server, check, equal, until

SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; Python has no name for it


def accounted(server, lines):
    """Wait until LINES lines have been stored or refused, no more and no fewer; (stored, refused)."""
    until(lambda: server.received() + server.rejected() >= lines, "%d lines to be counted" % lines, 60)
    equal(server.received() + server.rejected(), lines, "stored and refused")
    return server.received(), server.rejected()


def test_thousands_of_short_connections_lose_nothing():
    count, threads = 3000, 4
    with Server() as server:
        address = server.address("carbon")
        failed = []

        def some(first):
            try:
                for i in range(first, count, threads):
                    with socket.create_connection(address, timeout=harness.DEADLINE) as c:
                        c.sendall(b"".join(b"short.c%d.m%d %d %d\n" % (i % 500, m, i, server.now) for m in range(10)))
            except OSError as e:
                failed.append(e)

        running = [threading.Thread(target=some, args=(n,)) for n in range(threads)]
        for t in running:
            t.start()
        for t in running:
            t.join()
        equal(failed, [], "connections that failed")
        equal(accounted(server, count * 10), (count * 10, 0), "stored and refused")
        until(lambda: server.metric("plumbago_carbon_connections") == 0, "all connections to be closed")
        equal(server.metric("plumbago_carbon_connections_total"), count, "connections")


def resident(server):
    with open("/proc/%d/statm" % server.process.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_lines_that_never_end_cost_a_bounded_amount():
    connections, flood = 200, 1 << 20
    with Server() as server:
        before = resident(server)
        open_ones = [socket.create_connection(server.address("carbon")) for _ in range(connections)]
        for c in open_ones:
            c.sendall(b"x" * flood)  # 200 MiB in all, of which 16 KiB a connection may stay
        until(lambda: server.metric('plumbago_bytes_received_total{protocol="tcp"}') >= connections * flood, "all bytes")
        grown = resident(server) - before
        check(grown < connections * 32768 + (64 << 20), "%d MiB more are resident" % (grown >> 20))
        server.feed("a.b 1 %d" % server.now)
        for c in open_ones:
            c.sendall(b"\nfine 1 %d\n" % server.now)
            c.close()
        stored, refused = accounted(server, 1 + 2 * connections)
        equal((stored, refused), (1 + connections, connections), "stored and refused")


def test_a_sender_that_stalls_holds_nobody_up():
    with Server({"carbon-workers": 1}) as server:
        stalled = [socket.create_connection(server.address("carbon")) for _ in range(50)]
        for c in stalled:
            c.sendall(b"half.a.line 1")
        server.feed(["other.m%d 1 %d" % (i, server.now) for i in range(1000)])
        for c in stalled:
            c.sendall(b" %d" % server.now)
            c.close()
        accounted(server, 1050)


def test_garbage_is_refused_and_counted():
    rng = random.Random(4)
    with Server() as server:
        data = bytes(rng.choice(b"\x00\x01\t\r\n\n .;=~/-+0123456789eEaNinf\x7f\x80\xc3\xa9\xff{}\"'") for _ in range(300000))
        data = data.rstrip(b"\n") + b"\n"
        blank = b" \t\r\v\f"
        lines = sum(1 for line in data.split(b"\n") if line.strip(blank))
        server.send(data)
        accounted(server, lines)
        server.send_udp(data[:60000].rstrip(b"\n"))
        server.feed("still.here 1 %d" % server.now)


def test_a_stop_in_the_middle_loses_nothing_that_was_taken():
    """Lines stream in while SIGTERM comes: a sender's lines are stored from the first up to some last one, without holes."""
    with Server({"carbon-workers": 2}) as server:
        address = server.address("carbon")

        def stream(n):
            try:
                with socket.create_connection(address) as c:
                    for i in range(100000):
                        c.sendall(b"stream%d.m%d %d %d\n" % (n, i % 100, i, server.now - 60 * (i // 100 % 600)))
            except OSError:
                pass

        running = [threading.Thread(target=stream, args=(n,)) for n in range(3)]
        for t in running:
            t.start()
        until(lambda: server.received() > 3000, "some points")
        equal(server.stop(), 0, "exit status")
        for t in running:
            t.join()
        server.restart()
        for n in range(3):
            values = {}
            for one in server.render("stream%d.*" % n, from_=server.now - 60 * 601, until=server.now):
                for v, t in one["datapoints"]:
                    if v is not None:
                        values[int(v)] = t
            check(values, "nothing of stream%d" % n)
            top = max(values)
            check(top >= 60000 or set(values) == set(range(top + 1)), "stream%d has holes below %d" % (n, top))


def test_a_stop_stores_what_still_waits_in_the_sender():
    """What send() has taken is stored, also when most of it waits in the sender's socket as the order comes. A pace makes
    the kernel move it over bit by bit."""
    count, connections = 10000, 3
    with Server({"carbon-workers": 2}) as server:
        senders = [socket.socket() for _ in range(connections)]
        for n, c in enumerate(senders):
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)  # the first ten segments go without a pace
            c.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 2 << 20)
            c.connect(server.address("carbon"))
            c.sendall(b"".join(b"slow%d.m%d 1 %d\n" % (n, i % 500, server.now - 60 * (i // 500)) for i in range(count)))
        server.signal(signal.SIGTERM)
        equal(server.wait_end(), 0, "exit status")
        server.restart()
        for n in range(connections):
            found = server.render("slow%d.*" % n, from_=server.now - 3600, until=server.now)
            equal(sum(v is not None for one in found for v, _ in one["datapoints"]), count, "points of sender %d" % n)


def test_the_log_names_who_sent_a_bad_line():
    with Server() as server:
        with socket.create_connection(server.address("carbon")) as c:
            peer = "%s:%d" % c.getsockname()
            c.sendall(b"bad\x01line \xff\n")
        accounted(server, 1)
        until(lambda: peer in server.log(), "the sender's address in the log")
        check("utf8" in server.log() and "bad\\u0001line <ff>" in server.log(), server.log()[-500:])
        server.send(["bad %d" % i for i in range(5000)])
        accounted(server, 5001)
        check(server.log().count("line refused") < 20, "the log is flooded")


if __name__ == "__main__":
    harness.main(__name__)
