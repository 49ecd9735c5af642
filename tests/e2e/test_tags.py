#!/usr/bin/env python3
"""/tags and seriesByTag: what Grafana asks, who may do what, mistakes, series by order, restarts, many at once."""

import json
import threading

import harness
from harness import Server, check, equal, until

_server = None

NAMES = [
    "disk.used;datacenter=dc1;rack=a1;server=web01",
    "disk.used;datacenter=dc1;rack=a2;server=web02",
    "disk.used;datacenter=dc2;rack=a1;server=db01",
    "cpu.load;datacenter=dc1;env=prod;server=web01",
    "cpu.load;datacenter=dc1;env=test;server=db01",
    "plain.series.a",
    "plain.series.b",
    "grün;ort=köln",
]


def shared():
    """One server for all tests that only read."""
    global _server
    if _server is None or _server not in harness._living:
        s = Server()
        s.feed(["%s %d %d" % (name, i + 1, s.now) for i, name in enumerate(NAMES)])
        _server = s
    return _server


def answer(path, params=None):
    """The JSON of a GET that must succeed."""
    a = shared().get(path, params)
    equal((a.status, a.type), (200, "application/json"), "answer of %s %s: %r" % (path, params, a))
    return a.json


def refused(path, params, status=400):
    a = shared().get(path, params)
    equal((a.status, a.type), (status, "application/json"), "answer of %s %s: %r" % (path, params, a))
    check(list(a.json) == ["error"] and isinstance(a.json["error"], str), "no error in %r" % a)


# ---- reading ----


def test_tags_are_listed():
    found = answer("/tags")
    equal([t["tag"] for t in found], ["datacenter", "env", "name", "ort", "rack", "server"])
    check(all(isinstance(t["id"], int) for t in found), "ids are integers")
    equal([t["tag"] for t in answer("/tags", {"filter": "[a-e]", "limit": 1})], ["datacenter"])
    equal(answer("/tags/"), found)


def test_one_tag_is_told():
    found = answer("/tags/server")
    equal(found["tag"], "server")
    check(isinstance(found["id"], int), "the id is an integer")
    equal([(v["value"], v["count"]) for v in found["values"]], [("db01", 2), ("web01", 2), ("web02", 1)])
    equal([v["value"] for v in answer("/tags/server", {"filter": "w", "limit": "1"})["values"]], ["web01"])
    equal(answer("/tags/nosuch"), None)
    equal(answer("/tags/a%2Fb"), None)
    equal([v["value"] for v in answer("/tags/name")["values"]], ["cpu.load", "disk.used", "grün"])


def test_series_are_found_by_tags():
    equal(answer("/tags/findSeries", {"expr": "name=disk.used"}), NAMES[:3])
    equal(answer("/tags/findSeries", {"expr": ["server=~web", "rack!=a1"]}), [NAMES[3], NAMES[1]])
    equal(answer("/tags/findSeries", {"expr[]": ["datacenter=dc1", "env="]}), NAMES[:2])
    equal(answer("/tags/findSeries", {"expr": "name=~plain"}), ["plain.series.a", "plain.series.b"])
    equal(answer("/tags/findSeries", {"expr": "name=plain.series.b"}), ["plain.series.b"])
    equal(answer("/tags/findSeries", {"expr": "ort=köln"}), ["grün;ort=köln"])
    equal(answer("/tags/findSeries/", {"expr": "name=nosuch"}), [])


def test_post_is_the_same_as_get():
    a = shared().post("/tags/findSeries", {"expr": ["name=disk.used", "rack=a1"]})
    equal(a.json, [NAMES[0], NAMES[2]])
    a = shared().post("/tags/findSeries", {"expr": "rack=a1"}, params={"expr": "server=db01"})
    equal(a.json, [NAMES[2]])
    equal(shared().post("/tags/autoComplete/values", {"tag": "rack"}).json, ["a1", "a2"])


def test_mistakes_are_400_with_json():
    for expr in ("bad", "=x", "a;b=c", "a=~(", "name!=x", "env=", "name=~.*", "", "2}.*"):
        refused("/tags/findSeries", {"expr": expr})
    refused("/tags/findSeries", {})
    refused("/tags", {"limit": "x"})
    refused("/tags", {"filter": "("})
    refused("/tags/server", {"filter": "["})
    refused("/tags/autoComplete/tags", {"limit": "1e3"})
    refused("/tags/autoComplete/tags", {"expr": "env="})
    refused("/tags/autoComplete/values", {})
    refused("/tags/autoComplete/values", {"tag": "server", "expr": "bad"})


def test_reading_takes_get_and_writing_takes_post():
    s = shared()
    for method, path in (("POST", "/tags"), ("POST", "/tags/server"), ("PUT", "/tags/autoComplete/tags"),
                         ("GET", "/tags/tagSeries?path=x;a=1"), ("GET", "/tags/tagMultiSeries?path=x;a=1"),
                         ("GET", "/tags/delSeries?path=x"), ("DELETE", "/tags/delSeries")):
        a = s.request(method, path)
        equal((a.status, a.body), (405, b""), "%s %s" % (method, path))


# ---- Grafana ----


def test_grafana_from_the_browser():
    equal(answer("/tags/autoComplete/tags"), ["datacenter", "env", "name", "ort", "rack", "server"])
    equal(answer("/tags/autoComplete/tags", {"tagPrefix": "d", "limit": 10000}), ["datacenter"])
    equal(answer("/tags/autoComplete/tags", {"expr": ["name=disk.used", "server=web01"]}), ["datacenter", "rack"])
    equal(answer("/tags/autoComplete/tags", {"expr": "name=cpu.load", "from": "-1h", "until": "now"}),
          ["datacenter", "env", "server"])
    equal(answer("/tags/autoComplete/values", {"expr": "name=disk.used", "tag": "server"}), ["db01", "web01", "web02"])
    equal(answer("/tags/autoComplete/values", {"expr": "server!=~db", "tag": "server"}), ["web01", "web02"])
    equal(answer("/tags/autoComplete/values", {"tag": "server", "valuePrefix": "w"}), ["web01", "web02"])
    equal(answer("/tags/autoComplete/values", {"tag": "nosuch"}), [])


def test_grafana_from_its_backend():
    """Every key is there, with junk for a value; a limit of 0 is none."""
    junk = {"from": "undefined", "until": "undefined", "limit": "0", "tagPrefix": "", "valuePrefix": ""}
    equal(answer("/tags/autoComplete/tags", dict(junk, expr="name=disk.used")), ["datacenter", "rack", "server"])
    equal(answer("/tags/autoComplete/values", dict(junk, tag="rack")), ["a1", "a2"])


def test_grafana_renders_by_tags():
    s = shared()
    found = s.render("aliasByTags(seriesByTag('name=disk.used', 'datacenter=dc1'), 'server')", from_="-10min")
    equal([x["target"] for x in found], ["web01", "web02"])
    equal(found[0]["tags"]["rack"], "a1")
    found = s.render("groupByTags(seriesByTag('server=~web.*'), 'sum', 'server')", from_="-10min")
    equal(sorted(x["tags"]["server"] for x in found), ["web01", "web02"])
    equal(s.render("seriesByTag('name=nosuch')"), [])
    a = s.get("/render", {"target": "seriesByTag('server!=x')", "format": "json"})
    equal(a.status, 400, "%r" % a)
    a = s.post("/render", "target=aliasSub(seriesByTag('name%3Ddisk.used')%2C%20%22(%5E.*%24)%22%2C%20%22%5C1%20A%22)"
                          "&from=-5min&until=now&format=json&maxDataPoints=100")
    equal([x["target"] for x in a.json], [name + " A" for name in NAMES[:3]])


def test_completions_are_limited_to_a_hundred():
    with Server() as s:
        s.feed(["m;host=h%04d;k%04d=1 1 %d" % (i, i, s.now) for i in range(500)])
        equal(s.get("/tags/autoComplete/values", {"tag": "host"}).json, ["h%04d" % i for i in range(100)])
        equal(s.get("/tags/autoComplete/values", {"tag": "host", "expr": "name=m", "limit": 3}).json,
              ["h0000", "h0001", "h0002"])
        equal(len(s.get("/tags/autoComplete/tags").json), 100)
        equal(len(s.get("/tags/autoComplete/tags", {"limit": "10000"}).json), 502)
        equal(len(s.get("/tags/host").json["values"]), 500)
        equal(len(s.get("/tags").json), 502)


# ---- series by order ----


def test_series_are_made_and_deleted_by_order():
    with Server() as s:
        def find(expr):
            return s.get("/tags/findSeries", {"expr": expr}).json

        a = s.post("/tags/tagSeries", {"path": "zz.one;b=2;a=1"})
        equal((a.status, a.type, a.json), (200, "application/json", "zz.one;a=1;b=2"))
        equal(find("a=1"), ["zz.one;a=1;b=2"])
        equal(s.post("/tags/tagSeries", {"path": "zz.plain"}).json, "zz.plain")
        equal(find("name=zz.plain"), ["zz.plain"])
        equal(s.post("/tags/tagMultiSeries", {"path": ["zz.two;a=1", 'zz.three{a="3"}']}).json,
              ["zz.two;a=1", "zz.three;a=3"])
        equal(s.post("/tags/tagMultiSeries", "path[]=zz.four%3Ba%3D1").json, ["zz.four;a=1"])
        equal(find("a=1"), ["zz.four;a=1", "zz.one;a=1;b=2", "zz.two;a=1"])
        equal(s.post("/tags/delSeries", {"path": ["zz.one;b=2;a=1", "zz.plain"]}).json, True)
        equal(s.post("/tags/delSeries", {"path": "zz.never;a=1"}).json, True)
        equal(find("a=1"), ["zz.four;a=1", "zz.two;a=1"])
        equal(find("name=zz.plain"), [])
        equal(s.get("/tags/b").json["values"], [])
        s.kill()
        s.restart()
        equal(find("a=1"), ["zz.four;a=1", "zz.two;a=1"])
        s.feed("zz.one;a=1;b=2 5 %d" % s.now)
        equal(find("b=2"), ["zz.one;a=1;b=2"])


def test_an_order_for_what_is_no_name_does_nothing():
    with Server() as s:
        s.feed("a.b 1 %d" % s.now)
        for path in ("", ";a=1", "x;a=", "x;a", "x;=1", "x;a=~1", "x;a!b=1", "~~~", "x;\x01=1"):
            for order in ("tagSeries", "delSeries", "tagMultiSeries"):
                a = s.post("/tags/" + order, {"path": path})
                equal(a.status, 400, "%s of %r: %r" % (order, path, a))
                check("error" in a.json, "%r" % a)
        a = s.post("/tags/tagMultiSeries", {"path": ["good;a=1", "bad;a="]})
        equal(a.status, 400)
        equal(s.get("/tags").json, [])
        equal(s.post("/tags/delSeries", {"path": "*"}).json, True)  # a name, not a pattern
        equal(s.get("/metrics/index.json").json, ["a.b"])


def test_a_limit_of_series_holds_for_orders_too():
    with Server({"max-series": "2"}) as s:
        equal(s.post("/tags/tagMultiSeries", {"path": ["x;a=1", "x;a=2"]}).status, 200)
        a = s.post("/tags/tagSeries", {"path": "x;a=3"})
        equal(a.status, 422)
        check("series_limit" in a.json["error"], "%r" % a)
        equal(s.post("/tags/tagSeries", {"path": "x;a=1"}).json, "x;a=1")


# ---- many at once ----


def test_reading_while_series_come_and_go():
    with Server() as s:
        s.feed(["kept;n=%d;x=1 1 %d" % (i, s.now) for i in range(50)])
        stop = threading.Event()
        wrong = []

        def read():
            c = s.http()
            while not stop.is_set():
                a = s.request("GET", "/tags/findSeries?expr=name%3Dkept&expr=n%3D~1", connection=c)
                if a.status != 200 or len(a.json) != 11:
                    wrong.append(a)
                a = s.request("GET", "/tags/autoComplete/values?tag=n&expr=x%3D1&limit=1000", connection=c)
                if a.status != 200 or len(a.json) < 50:
                    wrong.append(a)
            c.close()

        readers = [threading.Thread(target=read) for _ in range(2)]
        for r in readers:
            r.start()
        for turn in range(5):
            names = ["gone;n=%d;t=%d;x=1" % (i, turn) for i in range(100)]
            s.feed(["%s 1 %d" % (name, s.now) for name in names])
            equal(s.post("/tags/delSeries", {"path": names}).status, 200)
        stop.set()
        for r in readers:
            r.join()
        equal(wrong[:1], [])
        equal(len(s.get("/tags/findSeries", {"expr": "x=1"}).json), 50)
        equal(len(s.get("/tags/n").json["values"]), 50)


if __name__ == "__main__":
    harness.main(__name__)
