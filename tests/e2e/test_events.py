#!/usr/bin/env python3
"""Events: posted as tools post them, found as Grafana finds them, kept over restarts and kill -9, counted by events()."""

import json
import threading
import time

import harness
from harness import Server, check, equal, until


def post(s, event, type_="application/json", path="/events/"):
    body = event if isinstance(event, (str, bytes)) else json.dumps(event)
    return s.request("POST", path, body=body, headers={"Content-Type": type_} if type_ else {})


def keep(s, what, **more):
    answer = post(s, dict({"what": what}, **more))
    equal((answer.status, answer.body), (200, b""), "answer to the post of %s" % what)


def get(s, **params):
    answer = s.get("/events/get_data", {name.rstrip("_"): value for name, value in params.items()})
    equal((answer.status, answer.type), (200, "application/json"), "answer of get_data")
    return answer.json


def whats(s, **params):
    return [event["what"] for event in get(s, **params)]


def refused(answer, status, word):
    equal((answer.status, answer.type), (status, "application/json"), "%r" % answer)
    check(word in answer.json["error"], "%r is not in %r" % (word, answer.json["error"]))


def test_an_event_comes_back_as_grafana_reads_it():
    with Server() as s:
        keep(s, "Deploy", tags="deploy web", when=s.now - 60, data="v1.2 \u00e9 \"q\"")
        event, = get(s, from_=s.now - 120, until=s.now, tags="deploy")
        equal(event, {"when": s.now - 60, "what": "Deploy", "data": "v1.2 \u00e9 \"q\"", "tags": ["deploy", "web"],
                      "id": event["id"]})
        check(type(event["id"]) is int and type(event["when"]) is int, event)
        equal(s.get("/events/%d" % event["id"]).json, event, "the event by its id")
        equal(s.get("/events/").json, [event], "the list")
        answer = s.get("/events/get_data", {"jsonp": "cb"})
        equal((answer.type, answer.text[:4], answer.text[-1]), ("text/javascript", "cb([", ")"))


def test_posts_come_in_many_forms():
    with Server() as s:
        now = int(time.time())
        keep(s, "list", tags=["a", "b c"], when=s.now - 5.75)
        keep(s, "bare")
        keep(s, 42, data=1.5, tags=None, when=s.now - 3)
        for type_ in (None, "text/plain", "application/x-www-form-urlencoded", "nonsense"):
            equal(post(s, {"what": "x&y=%41+", "when": s.now - 2}, type_, "/events").status, 200, "type %s" % type_)
        events = {event["what"]: event for event in get(s)}
        equal((events["list"]["when"], events["list"]["tags"]), (s.now - 6, ["a", "b", "c"]))
        check(now <= events["bare"]["when"] <= now + 60, events["bare"])
        equal((events["bare"]["data"], events["bare"]["tags"]), ("", []))
        equal((events["42"]["data"], events["42"]["tags"]), ("1.5", []))
        equal(len(get(s)), 7)
        check("x&y=%41+" in events, list(events))


def test_what_is_no_event_is_refused_with_a_reason():
    with Server() as s:
        for body, word in (("", "JSON"), ("not json", "JSON"), ("[1]", "object"), ("{}", "what"), ('"x"', "object"),
                           ('{"what": null}', "what"), ('{"what": []}', "what"), ('{"what": "x", "tags": 5}', "tags"),
                           ('{"what": "x", "tags": ["a", 1]}', "tags"), ('{"what": "x", "when": "yesterday"}', "when"),
                           ('{"what": "x", "when": null}', "when"), ('{"what": "x", "when": 1e300}', "when"),
                           ('{"what": "x", "when": -5}', "1970"), ('{"what": "x", "when": 1}', "events-retention"),
                           ('{"what": "x", "data": {}}', "data"), ('{"what": "x\\u0000"}', "JSON"),
                           (b'{"what": "\xff"}', "JSON"), ('{"what": "%s"}' % ("x" * 1025), "1024"),
                           ('{"what": "x", "tags": "%s"}' % ("x" * 4097), "tags"),
                           ('{"what": "x", "data": "%s"}' % ("x" * 65537), "data"), ("[" * 100000, "JSON")):
            refused(post(s, body), 400, word)
        refused(post(s, b" " * ((1 << 20) + 1)), 413, "1048576")
        equal(get(s), [])
        equal(s.request("PUT", "/events/", body="{}").status, 405)
        equal(s.request("POST", "/events/1", body="{}").status, 405)
        equal(s.get("/events/get_data", {"from": "bad"}).status, 400)
        for missing in ("1", "0", "x", "-1", "99999999999999999999", "4294967297"):
            answer = s.get("/events/" + missing)
            equal((answer.status, answer.type), (404, "application/json"), missing)


def test_tags_and_times_choose():
    with Server() as s:
        t = s.now - 1000
        keep(s, "both", tags="deploy prod", when=t)
        keep(s, "one", tags="deploy", when=t + 10)
        keep(s, "other", tags="prod", when=t + 20)
        keep(s, "none", when=t + 30)
        equal(whats(s, tags="deploy"), ["both", "one"])
        equal(whats(s, tags="deploy prod"), ["both"])
        equal(whats(s, tags="deploy prod", set="union"), ["both", "one", "other"])
        equal(whats(s, tags="  prod   deploy "), ["both"])
        equal(whats(s, tags=""), [])
        equal(whats(s, tags="nothing", set="union"), [])
        equal(whats(s, from_=t + 10, until=t + 20), ["one", "other"])
        equal(whats(s, from_=t + 20, until=t + 10), [])
        equal(whats(s, from_="-10min", until="now"), [])
        equal(whats(s), ["both", "one", "other", "none"])
        keep(s, "planned", when=s.now + 86400)
        equal(whats(s, from_=s.now), [], "until is now when it is not given")
        equal(whats(s, from_=s.now, until="+2d"), ["planned"])


def test_acknowledged_events_survive_kill_and_restart():
    with Server() as s:
        kept, stop = [], threading.Event()

        def post_on():
            n = 0
            while not stop.is_set():
                try:
                    keep(s, "event %d" % n, tags="t", when=s.now - n % 7)
                except (OSError, harness.http.client.HTTPException):
                    return
                kept.append("event %d" % n)
                n += 1

        poster = threading.Thread(target=post_on)
        poster.start()
        until(lambda: len(kept) > 20, "20 events")
        s.kill()
        stop.set()
        poster.join()
        s.restart()
        found = whats(s)
        check(set(kept) <= set(found) and len(found) <= len(kept) + 1, "%r is not %r" % (found, kept))
        ids = [event["id"] for event in get(s)]
        equal(len(set(ids)), len(ids))
        keep(s, "after", when=s.now)
        check(max(event["id"] for event in get(s)) > max(ids), "a new id")
        equal(s.stop(), 0)
        s.restart()
        equal(len(get(s)), len(found) + 1)
        equal(s.metric("plumbago_events"), len(found) + 1)


def test_limits_are_settings():
    with Server({"max-events": 3, "events-retention": 2}) as s:
        for n in range(3):
            keep(s, "e%d" % n, when=s.now - 86400)
        refused(post(s, {"what": "one more"}), 422, "max-events")
        equal(len(get(s)), 3)
        refused(post(s, {"what": "old", "when": s.now - 3 * 86400}), 400, "events-retention")
    with Server({"min-free-bytes": "1000000G"}) as s:
        refused(post(s, {"what": "x"}), 503, "min-free-bytes")
        equal(get(s), [])
    with Server({"events-retention": "off"}) as s:
        keep(s, "very old", when=1)
        equal(whats(s), ["very old"])


def test_many_posters_at_once_all_get_their_own_id():
    with Server() as s:
        def post_some(k):
            for n in range(25):
                keep(s, "%d-%d" % (k, n), when=s.now - (n * 13 + k) % 50)

        posters = [threading.Thread(target=post_some, args=(k,)) for k in range(6)]
        for p in posters:
            p.start()
        for p in posters:
            p.join()
        events = get(s)
        equal(len({event["id"] for event in events}), 150)
        equal({event["what"] for event in events}, {"%d-%d" % (k, n) for k in range(6) for n in range(25)})
        equal([event["when"] for event in events], sorted(event["when"] for event in events))


def test_events_are_counted_by_the_second():
    with Server() as s:
        t = s.now - 600
        for tags, when in (("deploy web", t + 5), ("deploy", t + 5), ("web", t + 7), ("", t + 20)):
            keep(s, "x", tags=tags, when=when)
        def span(target):
            return s.points(target, from_=t, until=t + 20)

        equal(span('events("*")'), {t + 5: 2, t + 7: 1})
        equal(span('events("web")'), {t + 5: 1, t + 7: 1})
        equal(span('events("deploy","web")'), {t + 5: 1})
        equal(s.points('summarize(events("*"),"1min","sum")', from_=t, until=t + 60), {t: 4})
        series, = s.render('timeShift(events("web"),"10s")', from_=t + 10, until=t + 20)
        equal({p[1]: p[0] for p in series["datapoints"] if p[0] is not None}, {t + 15: 1, t + 17: 1})
        series, = s.render('events("a","b")', from_=t, until=t + 2)
        equal((series["target"], series["datapoints"]), ('events("a", "b")', [[None, t], [None, t + 1]]))
        answer = s.get("/render", {"target": 'events("*")', "from": "-10y", "format": "json"})
        equal(answer.status, 422, "more seconds than query-max-points: %r" % answer)


if __name__ == "__main__":
    harness.main(__name__)
