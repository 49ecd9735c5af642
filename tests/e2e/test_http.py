#!/usr/bin/env python3
"""The HTTP API as its clients use it: find, render, Grafana's requests, odd bytes, limits, compression, CORS."""

import gzip
import json
import math
import pickle
import resource
import socket
import time

import harness
from harness import Server, check, equal, raw_http, read_answer, until

_server = None


def shared():
    """One server for all tests that only read: web01..web04 with cpu and mem, a name that is leaf and branch, odd
    names, a UTF-8 name."""
    global _server
    if _server is None:
        s = Server()
        lines = []
        for host in ("web01", "web02", "web03", "web04"):
            for k in range(60):
                t = s.now - 10 * k
                lines += ["web.%s.cpu.user %d %d" % (host, k, t), "web.%s.cpu.idle %d %d" % (host, 100 - k, t)]
            lines.append("web.%s.mem.used 0.1 %d" % (host, s.now))
        for name in ("both.x", "both.x.y", "both.x.z", "odd.a=b", "odd.plus+one", "odd.pct%25x", "odd.amp&x",
                     "odd.lt<gt>", "odd.at@sign", "utf.grün", "const.one", "const.pi"):
            lines.append("%s 1 %d" % (name, s.now))
        s.feed(lines)
        _server = s
    if _server not in harness._living:  # the runner tidies up after a test that has failed
        _server = None
        return shared()
    return _server


def leaf(text, name):
    return {"text": text, "id": name, "allowChildren": 0, "expandable": 0, "leaf": 1}


def branch(text, name):
    return {"text": text, "id": name, "allowChildren": 1, "expandable": 1, "leaf": 0}


# ---- the first look of the README ----


def test_first_look():
    with Server() as s:
        s.send("room.kitchen.temperature 21.5 %d\n" % time.time())
        until(lambda: s.find("room.*"), "room.kitchen")
        equal(s.find("room.kitchen.*"), [leaf("temperature", "room.kitchen.temperature")])
        equal(list(s.points("room.kitchen.temperature", from_="-5min").values()), [21.5])


def test_udp_arrives_too():
    with Server() as s:
        s.send_udp(["udp.a 1 %d" % s.now, "udp.b 2 %d" % s.now])
        s.wait_received(2)
        equal(s.points("udp.b", from_=s.now - 60, until=s.now + 10), {s.now: 2.0})
        equal(s.metric('plumbago_points_received_total{protocol="udp"}'), 2)


# ---- find ----


def test_treejson_is_what_grafana_reads():
    s = shared()
    equal(s.find("*"), [branch(n, n) for n in ("both", "const", "odd", "utf", "web")])
    equal(s.find("web.*.cpu"), [branch("cpu", "web.*.cpu")], "equal names of several branches")
    equal(s.find("web.web01.cpu.*"), [leaf(n, "web.web01.cpu." + n) for n in ("idle", "user")])
    equal(s.find("both.*"), [branch("x", "both.x"), leaf("x", "both.x")], "a leaf and a branch of one name")
    equal(s.find("nothing.*"), [])
    for entry in s.find("web.*"):
        for key in ("allowChildren", "expandable", "leaf"):
            check(type(entry[key]) is int, "%s is %r" % (key, entry[key]))


def test_find_globs():
    s = shared()
    names = lambda query: [n["text"] for n in s.find(query)]
    equal(names("web.web0[1-3]"), ["web01", "web02", "web03"])
    equal(names("web.web0[!1]"), ["web02", "web03", "web04"])
    equal(names("web.{web01,web04}"), ["web01", "web04"])
    equal(names("web.web0?"), ["web01", "web02", "web03", "web04"])
    equal(names("{web,const}.{web01,pi,one}"), ["web01", "one", "pi"], "branches first")
    equal(names("web.**.used"), ["used"])


def test_completer():
    s = shared()
    get = lambda query, **more: s.find(query, format="completer", **more)["metrics"]
    equal(get("web.web01"), [{"path": "web.web01.", "name": "web01", "is_leaf": "0"}])
    equal(get("web.web01.cpu."), [{"path": "web.web01.cpu." + n, "name": n, "is_leaf": "1"} for n in ("idle", "user")])
    equal([m["path"] for m in get("")], ["both.", "const.", "odd.", "utf.", "web."], "an empty query")
    equal([m["name"] for m in get("web..user")], [], "'..' is '*.'")
    equal([m["name"] for m in get("we..web01")], ["web01"])
    equal(get("const.", wildcards=1)[-1], {"name": "*"})
    equal([m["name"] for m in get("web.web01,web02", automatic_variants=1)], ["web01", "web02"])


def test_other_find_formats():
    s = shared()
    found = s.find("both.*", format="json")
    equal([(n["path"], n["is_leaf"]) for n in found], [("both.x", False), ("both.x", True)])
    check("intervals" not in found[0] and found[1]["intervals"][0]["end"] > s.now - 100, found)
    equal(s.find("web.*.cpu.*", format="nodelist"), {"nodes": ["idle", "user"]})
    equal(s.find("web.*.cpu.*", format="nodelist", position=1), {"nodes": ["web01", "web02", "web03", "web04"]})
    answer = s.get("/metrics/find", {"query": "const.*", "format": "pickle"})
    equal(answer.type, "application/pickle")
    equal([(n["path"], n["is_leaf"]) for n in pickle.loads(answer.body)], [("const.one", True), ("const.pi", True)])
    answer = s.get("/metrics/find", {"query": "const.*", "format": "msgpack"})
    equal((answer.type, answer.body[:1]), ("application/x-msgpack", b"\xdd"))


def test_find_wildcards_and_leaves_only():
    s = shared()
    equal(s.find("const.*", wildcards=1), [leaf(n, "const." + n) for n in ("*", "one", "pi")])
    equal(s.find("web.*", wildcards=1)[0], branch("*", "web.*"))
    equal(s.find("both.*", leavesOnly=1), [leaf("x", "both.x")])


def test_find_shows_names_as_graphite_web_does():
    s = shared()
    equal(s.find("odd.p*"), [leaf("pct%x", "odd.pct%25x"), leaf("plus one", "odd.plus+one")])
    answer = s.get("/metrics/find", {"query": "utf.*"}, headers={"Accept": "application/json"})
    check(b"gr\\u00fcn" in answer.body, answer)
    equal(answer.headers["content-type"], "application/json")
    answer = s.get("/metrics/find", {"query": "utf.*"}, headers={"Accept": "*/*"})
    check("grün" in answer.text, answer)


def test_find_mistakes_are_400():
    s = shared()
    for params in ({}, {"query": ""}, {"query": "a", "from": "bad"}, {"query": "a", "until": "bad"},
                   {"query": "a", "wildcards": "x"}, {"query": "a", "leavesOnly": "x"}, {"query": "a", "local": ""},
                   {"query": "a", "format": "nodelist", "position": "x"}, {"query": "a", "jsonp": "alert(1);x"}):
        answer = s.get("/metrics/find", params)
        equal((answer.status, answer.type), (400, "text/html"), "answer to %s" % params)
        check(answer.text.startswith("Invalid parameters (") and answer.text.count("\n") == 1, answer)
    answer = s.get("/metrics/find", {"query": "a", "format": "nosuch"})
    equal((answer.status, answer.type, answer.text), (400, "text/plain", "Invalid value for 'format' parameter\n"))
    for good in ("-1h", "-1", "1500000000", "", "now", "20200101"):
        equal(s.get("/metrics/find", {"query": "a", "from": good}).status, 200, "status of from=%s" % good)
    answer = s.get("/metrics/find", {"query": "a", "from": "<b>"})
    check("<b>" not in answer.text and "&lt;b&gt;" in answer.text, answer)


def test_expand_and_index():
    s = shared()
    expand = lambda params: s.get("/metrics/expand", params).json["results"]
    equal(expand({"query": "web.*"}), ["web.web0%d" % i for i in (1, 2, 3, 4)])
    equal(expand([("query", "const.*"), ("query", "b*"), ("query", "const.one")]), ["both", "const.one", "const.pi"])
    equal(expand({"query": "both.*", "leavesOnly": 1}), ["both.x"])
    equal(expand({"query": "both.*"}), ["both.x"])
    equal(expand([("query", "const.*"), ("query", "x"), ("groupByExpr", 1)]), {"const.*": ["const.one", "const.pi"], "x": []})
    equal(expand({}), [])
    index = s.get("/metrics/index.json").json
    equal(index, sorted(index), "order of the index")
    check("web.web04.mem.used" in index and "both.x" in index and "web" not in index, index)


# ---- render ----


def test_render_json():
    s = shared()
    answer = s.get("/render", {"target": "web.web01.cpu.user", "from": s.now - 30, "until": s.now, "format": "json"})
    equal((answer.status, answer.type, answer.reason), (200, "application/json", "OK"))
    check(b"\n" not in answer.body.strip(), "JSON on more than one line")
    equal(answer.json, [{"target": "web.web01.cpu.user", "tags": {"name": "web.web01.cpu.user"},
                         "datapoints": [[2.0, s.now - 20], [1.0, s.now - 10], [0.0, s.now]]}])


def test_render_post_get_and_mixed_are_the_same():
    s = shared()
    params = [("target", "web.web0*.cpu.user"), ("from", s.now - 300), ("until", s.now), ("format", "json")]
    want = s.get("/render", params)
    equal(len(want.json), 4)
    for path in ("/render", "/render/"):
        equal(s.get(path, params).body, want.body)
        equal(s.post(path, params).body, want.body)
        equal(s.post(path, params[:1], params=params[1:]).body, want.body)
        equal(s.post(path, params, params={"format": "raw"}).body, want.body, "the body wins")
        multipart = "".join("--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % p for p in params)
        equal(s.post(path, multipart + "--B--\r\n",
                     headers={"Content-Type": "multipart/form-data; boundary=B"}).body, want.body, "multipart")
    target = [("target", "web.web01.cpu.user"), ("target", "web.web02.cpu.user")]
    equal([x["target"] for x in s.post("/render", target[1:] + params[1:], params=target[:1]).json],
          ["web.web01.cpu.user", "web.web02.cpu.user"], "targets of URL and body")


def test_render_raw_and_csv():
    s = shared()
    params = {"target": "web.web01.mem.used", "from": s.now - 20, "until": s.now, "format": "raw"}
    answer = s.get("/render", params)
    equal((answer.type, answer.text), ("text/plain", "web.web01.mem.used,%d,%d,10|None,0.1\n" % (s.now - 10, s.now + 10)))
    answer = s.get("/render", dict(params, format="csv"))
    equal(answer.type, "text/csv")
    stamp = lambda t: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(t))
    equal(answer.body.decode(), "web.web01.mem.used,%s,\r\nweb.web01.mem.used,%s,0.1\r\n" % (stamp(s.now - 10), stamp(s.now)))


def test_nothing_is_200_and_empty():
    s = shared()
    equal(s.render("no.such.thing"), [])
    equal(s.get("/render", {"target": "no.such", "format": "raw"}).body, b"")


def test_render_mistakes():
    s = shared()
    for params in ({"target": "const.one", "from": "bad"}, {"target": "nosuch(const.one)"},
                   {"target": "const.one", "from": s.now, "until": s.now}):
        answer = s.get("/render", dict(params, format="json"))
        equal((answer.status, answer.type), (400, "text/html"), "answer to %s" % params)
        check(answer.text.startswith("Invalid parameters"), answer)


# ---- Grafana (its two ways in) ----


def test_grafana_query_from_the_browser():
    s = shared()
    # Written by encodeURIComponent, so '()*!~ stay raw.
    body = "target=aliasSub(web.web01.cpu.user%2C%20%22(%5E.*%24)%22%2C%20%22%5C1%20A%22)" \
           "&from=-1h&until=now&format=json&maxDataPoints=843"
    answer = s.post("/render", body, headers={"X-Grafana-Org-Id": "1", "Accept": "application/json, text/plain, */*"})
    equal(answer.status, 200, "status (%r)" % answer)
    equal([x["target"] for x in answer.json], ["web.web01.cpu.user A"])


def test_grafana_query_from_its_backend():
    s = shared()
    answer = s.post("/render", "format=json&from=%d&maxDataPoints=100&target=web.web01.cpu.user&until=%d" % (s.now - 600, s.now),
                    headers={"Accept-Encoding": "gzip", "User-Agent": "Grafana/12.0.0", "traceparent": "00-1-1-01"})
    equal(answer.status, 200)
    body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    for value, t in json.loads(body)[0]["datapoints"]:
        check(type(t) is int and (value is None or type(value) is float), "point %r" % [value, t])


def test_grafana_find_from_the_browser():
    s = shared()
    # The body is not percent-encoded.
    answer = s.post("/metrics/find", "query=web.{web01,web02}.*", params={"from": "-1h", "until": "now"})
    equal([n["text"] for n in answer.json], ["cpu", "mem"])
    equal(s.post("/metrics/find", "query=*").json, s.find("*"))
    equal(s.post("/metrics/find", "query=web.%2A").json, s.find("web.*"), "from the backend")


def test_grafana_expand_sends_a_form_type_on_a_get():
    s = shared()
    answer = s.get("/metrics/expand", {"query": "const.*", "from": "-1h"},
                   headers={"Content-Type": "application/x-www-form-urlencoded"})
    equal(answer.json, {"results": ["const.one", "const.pi"]})


def test_grafana_test_button():
    s = shared()
    answer = s.post("/render", {"target": 'aliasSub(constantLine(100), "(^.*$)", "\\1 A")', "from": "-1h", "until": "now",
                                "format": "json", "maxDataPoints": 300})
    equal((answer.status, answer.json[0]["target"]), (200, "100.0 A"))


def test_grafana_functions_and_version():
    s = shared()
    equal(s.get("/version").text, "1.1.10\n")
    equal(s.get("/version/").text, "1.1.10\n")
    functions = s.get("/functions").json
    check("sumSeries" in functions and functions["alias"]["group"] and functions["scale"]["params"], functions.keys())
    equal(s.get("/functions/scale").json["name"], "scale")
    answer = s.get("/functions/nosuch")
    equal((answer.status, answer.type), (404, "application/json"))
    check("error" in answer.json, answer)
    equal(s.request("DELETE", "/functions").status, 405)


# ---- other readers ----


def test_hound_sends_its_target_raw():
    s = shared()
    host, port = s.address("http")
    got = raw_http((host, port), b"GET /render/?target=keepLastValue(web.{web01,web02}.cpu.user)&format=raw&from=-10mins"
                   b" HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n" % (host.encode(), port))
    head, _, body = got.partition(b"\r\n\r\n")
    equal(head.split(b"\r\n")[0], b"HTTP/1.1 200 OK")
    float(body.decode().strip().split(",")[-1])


def test_raw_bytes_in_a_query_string():
    s = shared()
    for target, name in ((b"odd.lt<gt>", "odd.lt<gt>"), (b"alias(const.one,'{x}|\"^`')", "{x}|\"^`"),
                         ("alias(const.one,'grün')".encode(), "grün"), (b"alias(const.one, 'a b')", "a b"),
                         (b"alias(const.one,'a+b')", "a b"), (b"alias(const.one,'a%2Bb')", "a+b"),
                         (b"alias(const.one,'a%zz')", "a%zz")):
        got = raw_http(s.address("http"), b"GET /render?target=" + target + b"&format=json&from=-1h HTTP/1.1\r\nHost: x\r\n"
                       b"Connection: close\r\n\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        check(head.startswith(b"HTTP/1.1 200 OK"), "%r: %r" % (target, got[:300]))
        equal([x["target"] for x in json.loads(body)], [name], "series of %r" % target)


def test_bytes_that_are_not_utf_8_do_no_harm():
    s = shared()
    for request in (b"GET /render?target=\xff\xfe&format=json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                    b"GET /metrics/find?query=\xff%ff%00* HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        got = raw_http(s.address("http"), request)
        check(got.startswith(b"HTTP/1.1 "), "%r: %r" % (request, got[:200]))
        check(int(got.split(b" ")[1]) < 500, "%r: %r" % (request, got[:200]))
    equal(s.get("/healthz").status, 200)


def test_a_request_line_of_100_kb():
    s = shared()
    many = "&".join("target=web.web01.cpu.user" for _ in range(4000))
    check(len(many) > 100000, "only %d bytes" % len(many))
    answer = s.get("/render?from=-5min&format=raw&query-is-long=1&" + many.replace("&target", "&t"))
    equal((answer.status, answer.text.count("\n")), (200, 1))
    answer = s.get("/metrics/find?query=const.*&x=" + "y" * 200000)
    equal((answer.status, len(answer.json)), (200, 2))


def test_bodies_of_megabytes():
    s = shared()
    body = "format=raw&from=-5min&target=const.one&junk=" + "x" * 5000000
    equal(s.post("/render", body).status, 200)
    answer = s.post("/render", body, headers={"Expect": "100-continue"})
    equal(answer.status, 200)
    with s.connect() as c:
        c.sendall(b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 100000):
            piece = body[i : i + 100000].encode()
            c.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        c.sendall(b"0\r\n\r\n")
        equal(read_answer(c).status, 200)


def test_jsonp():
    s = shared()
    answer = s.get("/metrics/find", {"query": "const.*", "jsonp": "cb.x[0]"})
    equal(answer.type, "text/javascript")
    check(answer.text.startswith("cb.x[0]([") and answer.text.endswith("])"), answer)


# ---- HTTP itself ----


def test_paths_with_and_without_a_slash():
    s = shared()
    for path in ("/metrics/find", "/metrics/expand", "/metrics/index.json", "/functions", "/healthz", "/readyz", "/version",
                 "/metrics"):
        for end in ("", "/"):
            equal(s.get(path + end, {"query": "*"}).status, 200, "status of %s" % (path + end))
    for path in ("/", "/nosuch", "/render/nosuch", "/metrics/find/x", "/metrics/nosuch", "/functions/a/b", "/admin/flush"):
        equal(s.get(path).status, 404, "status of %s" % path)


def test_metrics_with_a_query_is_a_find():
    s = shared()
    equal(s.get("/metrics", {"query": "const.*"}).json, s.find("const.*"))
    check(s.get("/metrics").text.startswith("# HELP "), "no Prometheus text")


def test_methods():
    s = shared()
    equal(s.request("DELETE", "/render").status, 405)
    equal(s.request("PUT", "/healthz").headers["allow"], "GET, HEAD, OPTIONS")
    equal(s.request("POST", "/healthz").status, 405)
    equal(s.request("BREW", "/healthz").status, 405)


def test_head_has_the_headers_and_no_body():
    s = shared()
    with s.connect() as c:
        for path in ("/metrics/find?query=*", "/healthz", "/nosuch"):
            length = s.get(path).headers["content-length"]
            c.sendall(b"HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += c.recv(1)
            check(b"Content-Length: %s\r\n" % length.encode() in head, head)
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        equal(read_answer(c).body, b"ok\n", "what follows on the connection")


def test_options_and_cors():
    s = shared()
    answer = s.request("OPTIONS", "/render", headers={"Origin": "http://g", "Access-Control-Request-Method": "POST"})
    equal((answer.status, answer.body), (204, b""))
    equal(answer.headers["access-control-allow-origin"], "*")
    for word in ("Authorization", "Content-Type", "Accept"):
        check(word in answer.headers["access-control-allow-headers"], answer.headers)
    equal(s.get("/healthz", headers={"Origin": "http://g"}).headers["access-control-allow-origin"], "*")
    check("access-control-allow-origin" not in s.get("/healthz").headers, "CORS headers without an Origin")
    with Server({"http-allow-origin": "http://a http://g"}) as t:
        answer = t.get("/healthz", headers={"Origin": "http://g"})
        equal(answer.headers["access-control-allow-origin"], "http://g")
        equal(answer.headers["access-control-allow-credentials"], "true")
        check("access-control-allow-origin" not in t.get("/healthz", headers={"Origin": "http://h"}).headers, "http://h")
    with Server({"http-allow-origin": "off"}) as t:
        check("access-control-allow-origin" not in t.get("/healthz", headers={"Origin": "http://g"}).headers, "off")


def test_gzip_when_accepted_and_worth_it():
    s = shared()
    path = "/render?target=web.*.cpu.*&from=-10min&format=json"
    plain = s.get(path)
    check("content-encoding" not in plain.headers, "gzip though not asked for")
    packed = s.get(path, headers={"Accept-Encoding": "deflate, gzip;q=1.0"})
    equal(packed.headers["content-encoding"], "gzip")
    equal(json.loads(gzip.decompress(packed.body))[0]["target"], plain.json[0]["target"])
    check(len(packed.body) < len(plain.body) / 2, "%d of %d bytes" % (len(packed.body), len(plain.body)))
    check("content-encoding" not in s.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers, "gzip of 3 bytes")
    check("content-encoding" not in s.get(path, headers={"Accept-Encoding": "gzip;q=0"}).headers, "gzip;q=0")


def test_keep_alive_and_close():
    s = shared()
    c = s.http()
    for _ in range(5):
        equal(s.request("GET", "/healthz", connection=c).status, 200)
    c.close()
    with s.connect() as c:
        c.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        equal(read_answer(c).headers["connection"], "close")
        equal(c.recv(1), b"")
    with s.connect() as c:
        c.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        equal(read_answer(c).headers["connection"], "keep-alive")


def test_a_path_prefix():
    with Server({"http-prefix": "/graphite"}) as s:
        equal(s.get("/graphite/version").text, "1.1.10\n")
        equal(s.get("/graphite/metrics/find/", {"query": "*"}).json, [])
        equal(s.get("/version").status, 200)
        equal(s.get("/graphiteversion").status, 404)


def test_a_named_listener_speaks_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as c:
            c.bind(("::1", 0))
    except OSError:
        return  # this machine has no IPv6
    with Server({"http": "[::1]:0"}) as s:
        equal(s.get("/healthz").status, 200)


def test_metrics_are_prometheus_text():
    s = shared()
    answer = s.get("/metrics")
    equal(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
    found = harness.parse_metrics(answer.text)
    for name in ('plumbago_points_received_total{protocol="tcp"}', 'plumbago_points_received_total{protocol="udp"}',
                 'plumbago_points_rejected_total{protocol="tcp",reason="value"}', "plumbago_series",
                 "plumbago_series_created_total", 'plumbago_series_refused_total{reason="series_limit"}',
                 "plumbago_open_windows", "process_resident_memory_bytes"):
        check(name in found, "%s is missing" % name)
    check(any(n.startswith("plumbago_bytes_on_disk{") and 'tier="' in n for n in found), "plumbago_bytes_on_disk")
    typed = [line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE ")]
    equal(len(typed), len(set(typed)), "families given once")
    equal({n.split("{")[0] for n in found}, set(typed), "families and their types")
    check(all(math.isfinite(v) for v in found.values()), "numbers")


def test_rejected_lines_are_counted_by_reason():
    with Server() as s:
        s.send("a.b x %d\na.c 1\ngood.one 1 %d\na.d 1 never\na.e 1 %d\n" % (s.now, s.now, s.now + 10**9))
        until(lambda: s.rejected() >= 4 and s.received() >= 1, "five lines")
        reasons = {k: v for k, v in s.metric_all("plumbago_points_rejected_total").items() if v}
        equal(reasons, {'{protocol="tcp",reason="%s"}' % r: 1.0 for r in ("value", "fields", "timestamp", "future")})
        equal([n["text"] for n in s.find("*.{b,c,d,one}")], ["one"])


# ---- limits ----


def test_oversized_heads_and_bodies():
    with Server({"http-max-header": "8K", "http-max-body": "64K"}) as s:
        equal(s.get("/healthz?" + "x" * 9000).status, 431)
        equal(s.post("/render", "x" * 70000).status, 413)
        equal(s.post("/render", "target=a.b&format=json&x=" + "x" * 60000).status, 200)
        with s.connect() as c:
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"H%d: x\r\n" % i for i in range(100)) + b"\r\n")
            equal(read_answer(c).status, 431)
        equal(s.metric("plumbago_http_bad_requests_total"), 3)


def test_slow_clients_are_not_waited_for():
    with Server({"http-receive-timeout": "1", "http-idle-timeout": "1"}) as s:
        slow = [s.connect() for _ in range(50)]
        for i, c in enumerate(slow):
            c.sendall((b"G", b"GET /healthz HTTP/1.1\r\nHost:", b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", b"")[i % 4])
        equal(s.get("/healthz").status, 200)
        for i, c in enumerate(slow):
            if i % 4 != 3:
                equal(read_answer(c).status, 408)
            equal(c.recv(1), b"", "the end")
            c.close()
        equal(s.metric("plumbago_http_timeouts_total"), 38)


def test_trickling_does_not_help():
    with Server({"http-receive-timeout": "1"}) as s:
        with s.connect() as c:
            ended = False
            begun = time.monotonic()
            while not ended and time.monotonic() - begun < harness.DEADLINE:
                try:
                    c.sendall(b"x")
                    c.settimeout(0.05)
                    ended = c.recv(100) != b""
                except socket.timeout:
                    pass
                except OSError:
                    ended = True
            check(ended, "a head that comes a byte at a time is waited for")


def test_many_idle_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    with Server() as s:
        s.get("/healthz")
        before = s.metric("process_resident_memory_bytes")
        idle = [s.connect() for _ in range(count)]
        for c in idle:
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for c in idle:
            equal(read_answer(c).status, 200)
        found = s.metrics()
        check(found["plumbago_http_connections"] >= count, "connections: %s" % found["plumbago_http_connections"])
        each = (found["process_resident_memory_bytes"] - before) / count
        sanitized = 'plumbago_heap_bytes{kind="allocated"}' not in found  # no jemalloc, and freed memory is kept
        check(each < 8192 or sanitized, "%d bytes for each idle connection" % each)
        equal(s.get("/healthz").status, 200)
        for c in idle:
            c.close()
        until(lambda: s.metric("plumbago_http_connections") < 10, "all closed")


def test_connection_limits():
    with Server({"http-max-connections-per-address": "5"}) as s:
        held = [s.connect() for _ in range(5)]
        for c in held:
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            equal(read_answer(c).status, 200)
        with s.connect() as c:
            answer = read_answer(c)
            equal((answer.status, answer.headers["retry-after"]), (503, "1"))
        held.pop().close()
        until(lambda: raw_http(s.address("http"), b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"), "room")
        for c in held:
            c.close()


def test_buffers_of_all_connections_together_are_bounded():
    with Server({"http-max-buffers": "1M"}) as s:
        held = [s.connect() for _ in range(30)]
        for c in held:  # unfinished heads of 100 kB
            try:
                c.sendall(b"GET /healthz?" + b"x" * 100000)
            except OSError:
                pass  # refused already
        until(lambda: s.metric("plumbago_http_refused_total") > 0, "a refusal")
        check(s.metric("plumbago_http_buffer_bytes") < 2 << 20, "%d bytes held" % s.metric("plumbago_http_buffer_bytes"))
        for c in held:
            c.close()
        until(lambda: s.metric("plumbago_http_buffer_bytes") < 100000, "buffers given back")
        equal(s.get("/metrics/find", {"query": "*"}).status, 200)


def test_query_limits_say_which():
    with Server({"query-max-series": "10", "query-max-targets": "3"}) as s:
        s.feed(["lim.s%d 1 %d" % (i, s.now) for i in range(20)])
        answer = s.get("/render", {"target": "lim.*", "format": "json"})
        check(answer.status == 422 and "10" in answer.text, answer)
        answer = s.get("/metrics/find", {"query": "lim.*"})
        check(answer.status == 422 and "10" in answer.text, answer)
        equal(len(s.get("/metrics/index.json").json), 20)
        answer = s.get("/metrics/expand", [("query", "a%d" % i) for i in range(4)])
        check(answer.status == 422 and "query-max-targets" in answer.text, answer)


def test_resets_at_any_byte():
    s = shared()
    request = b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n" \
              b"Content-Length: 29\r\n\r\ntarget=const.one&format=json"
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    for cut in range(len(request) + 1):
        c = s.connect()
        c.sendall(request[:cut])
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        c.close()
    equal(s.get("/healthz").status, 200)


if __name__ == "__main__":
    harness.main(__name__)
