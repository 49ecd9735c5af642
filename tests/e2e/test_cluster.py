#!/usr/bin/env python3
"""plumbago as a store behind graphite-web: a real one, with two nodes as CLUSTER_SERVERS, answers as a third plumbago
does that has the data of both. And the formats that cluster front-ends read, byte by byte."""

import json
import pickle
import pickletools
import struct

import graphite_web
import harness
from harness import Server, check, equal

HOSTS = ("web01", "web02", "web03", "db01")


def lines_of(host, now):
    lines = []
    for k in range(60):
        t = now - 600 + 10 * k
        lines.append("web.%s.cpu.user %r %d" % (host, k * 1.5 + len(host), t))
        if k % 7 != 3:
            lines.append("web.%s.cpu.idle %d %d" % (host, 100 - k, t))
        lines.append("disk.used;host=%s;mount=/var %d %d" % (host, k * 1000000007, t))
    lines.append("web.%s %d %d" % (host, len(host), now - 10))  # a leaf and a branch
    return lines


class Cluster:
    """Two nodes with half of the hosts each and half of the points of one series each; a third one with all."""

    def __init__(self):
        self.left, self.right, self.whole = Server(), Server(), Server()
        self.now = self.whole.now
        for i, host in enumerate(HOSTS):
            self.feed((self.left, self.right)[i % 2], lines_of(host, self.now))
        shared = ["shared.metric %d %d" % (k, self.now - 600 + 10 * k) for k in range(60)]
        self.feed(self.left, shared[:35])
        self.feed(self.right, shared[30:])

    def feed(self, node, lines):
        node.feed(lines)
        self.whole.feed(lines)

    def nodes(self):
        return ["%s:%d" % node.address("http") for node in (self.left, self.right)]

    def close(self):
        for server in (self.left, self.right, self.whole):
            server.close()


_cluster = None


def cluster():
    global _cluster
    if _cluster is None or _cluster.left not in harness._living:
        _cluster = Cluster()
    return _cluster


FINDS = ("*", "web.*", "web.web*", "web.*.cpu", "web.*.cpu.*", "web.{web01,db01}.cpu.u*", "shared.metric", "nothing.*",
         "web.web0[12].cpu.idle", "*.*")

TARGETS = (
    "web.web01.cpu.user",
    "web.*.cpu.user",
    "web.{web02,db01}.cpu.idle",
    "shared.metric",
    "nothing.at.all",
    "sumSeries(web.*.cpu.user)",
    "aliasByNode(scale(web.*.cpu.user,0.5),1,3)",
    "nonNegativeDerivative(web.web02.cpu.user)",
    'summarize(shared.metric,"1min","sum")',
    "groupByNode(web.*.cpu.idle,1,'avg')",
    "timeShift(web.web01.cpu.user,'2min')",
    "seriesByTag('name=disk.used')",
    "seriesByTag('name=disk.used','host=~web.*')|aliasByTags('host')",
)

TAGS = (
    ("tags", {}),
    ("tags", {"tagPrefix": "h"}),
    ("tags", {"expr": "name=disk.used"}),
    ("tags", {"expr": ["host=~web", "mount=/var"], "limit": 1}),
    ("values", {"tag": "host"}),
    ("values", {"tag": "host", "valuePrefix": "web"}),
    ("values", {"tag": "host", "expr": ["name=disk.used", "host!=web02"]}),
    ("values", {"tag": "nothing"}),
)


def asked(ask, path, params):
    status, body = ask(path, params)
    equal(status, 200, "status of %s %r: %r" % (path, params, body[:500]))
    return json.loads(body)


def compare_with(web, c):
    def of_plumbago(path, params):
        answer = c.whole.get(path, params)
        return answer.status, answer.body

    for query in FINDS:
        want = asked(of_plumbago, "/metrics/find", {"query": query})
        got = asked(web.get, "/metrics/find", {"query": query})
        # Of a name that is leaf and branch graphite-web shows one; plumbago both, the branch first.
        want = {node["text"]: node["id"] for node in want}
        equal({node["text"]: node["id"] for node in got if node["text"] != "_tagged"}, want, "find %s" % query)
        want = asked(of_plumbago, "/metrics/expand", {"query": query})
        equal(asked(web.get, "/metrics/expand", {"query": query}), want, "expand %s" % query)
    want = asked(of_plumbago, "/metrics/index.json", {})
    equal(asked(web.get, "/metrics/index.json", {}), want, "index")
    for what, params in TAGS:
        want = asked(of_plumbago, "/tags/autoComplete/" + what, params)
        equal(asked(web.get, "/tags/autoComplete/" + what, params), want, "%s %r" % (what, params))
        check(want or params == {"tag": "nothing"}, "no %s for %r" % (what, params))
    for target in TARGETS:
        for more in ({}, {"maxDataPoints": 20}):
            params = dict({"target": target, "format": "json", "from": c.now - 500, "until": c.now - 60}, **more)
            want = asked(of_plumbago, "/render", params)
            got = asked(web.get, "/render", dict(params, noCache=1))
            order = lambda series: series["target"]
            equal(sorted(got, key=order), sorted(want, key=order), "%r (%s)" % (params, web.errors()[-500:]))
            check(want or "nothing" in target, "%s has no data" % target)


def test_graphite_web_answers_from_two_nodes_as_one_plumbago_does():
    if not graphite_web.is_installed():
        print("skipped: graphite-web is not installed")
        return
    c = cluster()
    with graphite_web.GraphiteWeb(c.nodes()) as web:
        compare_with(web, c)


def test_graphite_web_may_ask_by_multipart_post():
    if not graphite_web.is_installed():
        print("skipped: graphite-web is not installed")
        return
    c = cluster()
    with graphite_web.GraphiteWeb(c.nodes(), post=True) as web:
        compare_with(web, c)


# ---- the formats ----


def test_pickles_need_no_class_and_are_of_protocol_2():
    c = cluster()
    for path, params in (
        ("/metrics/find/", {"local": 1, "format": "pickle", "query": "web.*", "from": c.now - 60, "until": c.now}),
        ("/metrics/find/", {"local": 1, "format": "pickle", "query": "nothing"}),
        ("/render/", {"format": "pickle", "local": 1, "noCache": 1, "target": "web.*.cpu.*", "from": c.now - 600,
                      "until": c.now, "now": c.now}),
        ("/render/", {"format": "pickle", "target": "nothing"}),
    ):
        answer = c.whole.get(path, params)
        equal((answer.status, answer.headers["content-type"]), (200, "application/pickle"))
        names = {op.name for op, _, _ in pickletools.genops(answer.body)}
        check(not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ"}, names)
        equal(max(op.proto for op, _, _ in pickletools.genops(answer.body)), 2)
        equal(type(pickle.loads(answer.body)), list)


def test_a_find_as_pickle_says_where_leaves_have_data():
    c = cluster()
    found = pickle.loads(c.whole.get("/metrics/find", {"format": "pickle", "query": "web.web01*"}).body)
    equal(len(found), 2)
    branch, leaf = found
    equal(branch, {"path": "web.web01", "is_leaf": False})
    equal((leaf["path"], leaf["is_leaf"]), ("web.web01", True))
    (start, end), = leaf["intervals"]
    check(start <= c.now - 600 and end >= c.now, leaf)


def test_a_render_as_pickle_has_what_a_reader_needs():
    c = cluster()
    params = {"format": "pickle", "target": "web.web0[12].cpu.idle", "from": c.now - 600, "until": c.now - 560}
    found = pickle.loads(c.whole.get("/render", params).body)
    equal([s["name"] for s in found], ["web.web01.cpu.idle", "web.web02.cpu.idle"])
    for s in found:
        equal((s["start"], s["end"], s["step"]), (c.now - 590, c.now - 550, 10))
        equal(s["values"], [99.0, 98.0, None, 96.0])
        equal([type(v) for v in s["values"]], [float, float, type(None), float])
        equal(s["pathExpression"], "web.web0[12].cpu.idle")


def msgpack_decode(body):
    """The value that BODY is, all of it. Numbers that are not float 64 come as ("int", n)."""

    def take(n):
        nonlocal at
        at += n
        check(at <= len(body), "the body ends too early")
        return body[at - n : at]

    def number(n):
        return int.from_bytes(take(n), "big")

    def items(n):
        return [value() for _ in range(n)]

    def pairs(n):
        return {value(): value() for _ in range(n)}

    def value():
        code = number(1)
        if code < 0x80:
            return ("int", code)
        if code < 0xA0:
            return (pairs if code < 0x90 else items)(code & 15)
        if code < 0xC0:
            return take(code & 31).decode()
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if code == 0xCB:
            return struct.unpack(">d", take(8))[0]
        if 0xCC <= code <= 0xCF:
            return ("int", number(1 << (code - 0xCC)))
        if 0xD9 <= code <= 0xDB:
            return take(number(1 << (code - 0xD9))).decode()
        check(0xDC <= code <= 0xDF, "msgpack code %#x" % code)
        return (items if code < 0xDE else pairs)(number(2 if code in (0xDC, 0xDE) else 4))

    at = 0
    found = value()
    equal(at, len(body), "bytes read")
    return found


def test_msgpack_has_the_keys_of_graphite_web_and_carbonapi():
    c = cluster()
    answer = c.whole.get("/metrics/find", {"format": "msgpack", "query": "web.web01*"})
    equal(answer.headers["content-type"], "application/x-msgpack")
    branch, leaf = msgpack_decode(answer.body)
    equal(branch, {"path": "web.web01", "is_leaf": False, "isLeaf": False})
    equal((leaf["path"], leaf["is_leaf"], leaf["isLeaf"]), ("web.web01", True, True))
    equal(len(leaf["intervals"][0]), 2)


def test_values_in_msgpack_are_always_doubles():
    c = cluster()
    params = {"format": "msgpack", "target": ["web.web01.cpu.idle", "countSeries(web.*.cpu.idle)"],
              "from": c.now - 600, "until": c.now - 560}
    answer = c.whole.get("/render", params)
    equal(answer.headers["content-type"], "application/x-msgpack")
    series, count = msgpack_decode(answer.body)
    equal(series["values"], [99.0, 98.0, None, 96.0])
    equal(count["values"], [4.0, 4.0, 4.0, 4.0])
    equal((series["start"], series["step"]), (("int", c.now - 590), ("int", 10)))


if __name__ == "__main__":
    harness.main(__name__)
