#!/usr/bin/env python3
"""Start, stop, settings, signals, log: plumbago as a process."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile

import harness
from harness import PLUMBAGO, Failure, Server, check, equal, until


def run(*words):
    r = subprocess.run([PLUMBAGO] + list(words), capture_output=True, text=True, timeout=harness.DEADLINE)
    return r.returncode, r.stdout, r.stderr


def put(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def test_version_and_help():
    status, out, _ = run("--version")
    equal(status, 0)
    check(re.fullmatch(r"plumbago \d+\.\d+\.\d+\n", out), out)
    status, out, _ = run("--help")
    equal(status, 0)
    for flag in ("--config", "--data-dir", "--carbon", "--carbon-udp", "--http", "--schemas", "--aggregation",
                 "--self-metrics", "--log-format", "--log-level", "--check-config", "--version", "--help"):
        check(flag + " " in out or flag + "\n" in out, "%s is not in --help" % flag)


def test_every_key_of_the_help_is_in_the_example_and_the_example_is_fine():
    example = os.path.join(harness.ROOT, "server", "plumbago.conf")
    status, out, err = run("--check-config", "--config", example)
    equal((status, out), (0, "configuration is fine\n"), "status (%s)" % err)
    with open(example) as f:
        keys = set(re.findall(r"^#? ?([a-z][a-z-]+) =", f.read(), re.M))
    flags = set(re.findall(r"^  --([a-z-]+)", run("--help")[1], re.M))
    equal(keys, flags - {"config", "check-config", "version", "help"}, "keys of plumbago.conf")


def test_defaults_in_the_example_are_the_real_ones():
    example = os.path.join(harness.ROOT, "server", "plumbago.conf")
    with open(example) as f:
        lines = f.read().splitlines()
    with tempfile.TemporaryDirectory() as d:
        text = "\n".join(line[2:] if re.match(r"# [a-z-]+ = .", line) else "" for line in lines)
        status, _, err = run("--check-config", "--config", put(d, "all.conf", text))
        check(status == 0 or "storage-" in err, err)  # the two carbon files need not exist here
    given = dict(re.findall(r"^# ([a-z-]+) = (.*)$", "\n".join(lines), re.M))
    for name, standard in re.findall(r"^  --([a-z-]+) .*\n.*\(([^()]*)\)$", run("--help")[1], re.M):
        if name not in ("schemas", "aggregation", "log-file"):
            equal(given.get(name), standard, "default of %s" % name)


def test_unknown_key_names_file_and_line():
    with tempfile.TemporaryDirectory() as d:
        path = put(d, "p.conf", "data-dir = %s/data\n\nhtpp = 127.0.0.1:0\n" % d)
        status, out, err = run("--config", path)
        equal((status, out), (2, ""))
        check("%s:3: unknown key \"htpp\"" % path in err, err)
        check(not os.path.exists(d + "/data"), "a data directory was made all the same")


def test_bad_values_are_refused_in_words():
    for words, text in (
        (["--http", "127.0.0.1"], "--http"),
        (["--http", "somewhere:80"], "--http"),
        (["--self-metrics", "never"], "--self-metrics"),
        (["--log-level", "loud"], "debug, info, warn, error, off"),
        (["--nonsense"], "unknown flag --nonsense"),
        (["--config", "/nonexistent.conf"], "/nonexistent.conf"),
        (["--pickle", "127.0.0.1:0"], "unknown flag --pickle"),
    ):
        status, out, err = run(*words)
        equal((status, out), (2, ""), "status of %s" % words)
        check(text in err and err.count("\n") == 1, "%s: %s" % (words, err))


def test_check_config_looks_into_the_carbon_files():
    with tempfile.TemporaryDirectory() as d:
        good = put(d, "good.conf", "[all]\npattern = .*\nretentions = 10s:1d\n")
        bad = put(d, "bad.conf", "[all]\npattern = .*\nretentions = 10s:1x\n")
        equal(run("--check-config", "--schemas", good)[0], 0)
        status, _, err = run("--check-config", "--schemas", bad)
        equal(status, 2)
        check(bad in err and ":3" in err, err)
        status, _, err = run("--check-config", "--aggregation", d + "/missing.conf")
        equal(status, 2)
        check("missing.conf" in err, err)
        equal(sorted(os.listdir(d)), ["bad.conf", "good.conf"], "files after checks")


def test_listening_json_tells_real_addresses_and_goes_at_a_clean_stop():
    with Server() as s:
        equal(sorted(s.listening), ["admin", "carbon", "carbon_udp", "http", "pid"])
        equal(s.listening["pid"], s.process.pid)
        for name in ("carbon", "carbon_udp", "http"):
            check(re.fullmatch(r"127\.0\.0\.1:[1-9]\d+", s.listening[name]), s.listening[name])
        line = until(lambda: [l for l in s.log().splitlines() if " ready " in l], "the ready line")[0]
        check(s.listening["http"] in line and s.listening["carbon"] in line, line)
        equal(s.stop(), 0, "exit status")
        check(not os.path.exists(s.data + "/listening.json"), "listening.json is still there")
        check(not os.path.exists(s.data + "/admin.sock"), "admin.sock is still there")


def test_off_disables_a_listener():
    with Server({"carbon": "off", "carbon-udp": "off"}) as s:
        equal((s.listening["carbon"], s.listening["carbon_udp"]), (None, None))
        equal(s.get("/healthz").status, 200)
    with Server({"http": "off"}) as s:
        equal(s.listening["http"], None)
        s.send("a.b 1 %d" % s.now)
        until(lambda: b" 1\n" in [l[-3:] for l in s.admin("/metrics", "GET").body.splitlines(True)
                                  if l.startswith(b'plumbago_points_received_total{protocol="tcp"}')],
              "a point, seen through the admin socket")


def test_a_second_server_on_the_same_data_is_refused():
    with Server() as s:
        other = subprocess.run(s.command(), capture_output=True, text=True, timeout=harness.DEADLINE)
        equal(other.returncode, 1, "exit status")
        check("cannot start" in other.stderr and s.data in other.stderr, other.stderr)
        equal(s.get("/readyz").status, 200)
        check(os.path.exists(s.data + "/listening.json"), "the second server took listening.json away")
        check(os.path.exists(s.data + "/admin.sock"), "the second server took admin.sock away")


def test_an_address_in_use_is_named():
    with socket.socket() as c:
        c.bind(("127.0.0.1", 0))
        c.listen()
        address = "127.0.0.1:%d" % c.getsockname()[1]
        for flag in ("carbon", "http"):
            with Server({flag: address}, start=False) as s:
                s.launch()
                equal(s.wait_end(), 1, "exit status")
                check(address in s.log() and "cannot start" in s.log(), s.log())


def test_sigterm_keeps_every_point():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as s:
            lines = ["stop.s%d %d %d" % (i, i, s.now - 10 * k) for i in range(200) for k in range(10)]
            s.feed(lines)
            s.signal(number)
            equal(s.wait_end(), 0, "exit status")
            s.restart()
            for i in (0, 77, 199):
                got = s.points("stop.s%d" % i, from_=s.now - 600, until=s.now + 60)
                equal(got, {s.now - 10 * k: float(i) for k in range(10)}, "points of stop.s%d" % i)


def test_sigterm_stores_what_has_arrived():
    with Server() as s:
        count = 2000  # so few that all of it has arrived when sendall() returns: the kernel takes it at once
        with socket.create_connection(s.address("carbon"), timeout=harness.DEADLINE) as c:
            c.sendall(b"".join(b"drain.s%d 1 %d\n" % (i, s.now) for i in range(count)))
            until(s.received, "a first point")
            equal(s.stop(), 0, "exit status")
        s.restart()
        equal(len(s.get("/metrics/index.json").json), count, "number of series")


def test_kill_9_keeps_what_was_received():
    with Server() as s:
        s.feed(["kill.s%d %d %d" % (i, i, s.now) for i in range(1000)])
        s.kill()
        check(os.path.exists(s.data + "/listening.json"), "who removed listening.json?")
        s.restart()
        equal(len(s.find("kill.*")), 1000)
        equal(s.points("kill.s999", from_=s.now - 60, until=s.now + 10), {s.now: 999.0})


def test_a_second_signal_ends_it_at_once():
    with Server() as s:
        # A client that never takes its answer keeps the stop waiting.
        s.feed(["big.s%d 1 %d" % (i, s.now) for i in range(5000)])
        with s.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(b"GET /metrics/find?query=big.*&format=json HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
            until(lambda: s.metric("plumbago_http_buffer_bytes") > 300000, "an answer that waits")
            s.signal(signal.SIGTERM)
            until(lambda: "stopping" in s.log(), "the stop")
            s.signal(signal.SIGTERM)
            equal(s.wait_end(), 128 + signal.SIGTERM, "exit status")
        s.restart()
        equal(len(s.find("big.*")), 5000)


def test_sighup_reads_the_carbon_files_again():
    with Server(start=False) as s:
        schemas = put(s.dir, "schemas.conf", "[all]\npattern = .*\nretentions = 10s:1d\n")
        s.flags["schemas"] = schemas
        s.start()
        s.feed("old.a 1 %d" % s.now)
        put(s.dir, "schemas.conf", "[all]\npattern = .*\nretentions = 60s:1d\n")
        s.signal(signal.SIGHUP)
        until(lambda: "reloaded" in s.log(), "the reload")
        s.feed("new.a 1 %d" % s.now)
        step = lambda name: s.render(name, from_=s.now - 600, until=s.now)[0]["datapoints"]
        equal(step("old.a")[1][1] - step("old.a")[0][1], 10, "step of the old series")
        equal(step("new.a")[1][1] - step("new.a")[0][1], 60, "step of the new series")

        put(s.dir, "schemas.conf", "[all]\npattern = .*\nretentions = nonsense\n")
        s.signal(signal.SIGHUP)
        until(lambda: "reload failed" in s.log(), "the failed reload")
        check("schemas.conf:3" in s.log(), s.log())
        equal(s.metric('plumbago_reloads_total{result="ok"}'), 1)
        equal(s.metric('plumbago_reloads_total{result="failed"}'), 1)
        equal(s.metric("plumbago_reload_successful"), 0)
        s.feed("new.b 1 %d" % s.now)
        equal(step("new.b")[1][1] - step("new.b")[0][1], 60, "step after a failed reload")


def test_sighup_opens_the_log_file_anew():
    with Server(start=False) as s:
        path = os.path.join(s.dir, "plumbago.log")
        s.flags["log-file"] = path
        s.start()
        until(lambda: " ready " in open(path).read(), "a ready line in the log file")
        os.rename(path, path + ".1")
        s.signal(signal.SIGHUP)
        until(lambda: os.path.exists(path) and "reloaded" in open(path).read(), "a line in the new file")
        check("reloaded" not in open(path + ".1").read(), "the old file got the line, too")


def test_json_log_lines_have_two_times_and_fields_of_their_own():
    with Server({"log-format": "json", "log-level": "debug"}) as s:
        s.feed("a.b 1 %d" % s.now)
        s.send('bad "line"\t\x01 x\n')
        until(lambda: s.rejected() == 1, "a rejected line")
        s.get("/nothing/\"here\"")
        equal(s.stop(), 0)
        lines = [json.loads(line) for line in s.log().splitlines()]
        check(len(lines) >= 4, "only %d lines" % len(lines))
        for line in lines:
            for name in ("time", "written", "level", "source", "version", "message"):
                check(isinstance(line.get(name), str), "%s of %r" % (name, line))
            for name in ("time", "written"):
                check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line[name]), line[name])
        ready = [line for line in lines if line["message"] == "ready"]
        equal(len(ready), 1, "ready lines")
        equal((ready[0]["http"], ready[0]["pid"]), (s.listening["http"], s.listening["pid"]))


def test_a_bind_to_all_addresses_warns():
    with Server({"http": "0.0.0.0:0"}) as s:
        check("can be reached from other machines" in s.log(), s.log())
    with Server() as s:
        check("can be reached from other machines" not in s.log(), s.log())


def test_own_metrics_are_stored_as_carbon_names_them():
    with Server({"self-metrics": "1"}) as s:
        s.feed(["x.y%d 1 %d" % (i, s.now) for i in range(10)])
        host = until(lambda: s.find("carbon.agents.*"), "carbon.agents")[0]["text"]
        names = {n["text"] for n in s.find("carbon.agents.%s.*" % host)}
        wanted = {"metricsReceived", "committedPoints", "creates", "errors", "cpuUsage", "memUsage"}
        check(wanted <= names, "only %s" % names)
        until(lambda: sum(s.points("carbon.agents.%s.committedPoints" % host, from_="-5min").values()) >= 0,
              "a point")
        check(max(s.points("carbon.agents.%s.memUsage" % host, from_="-5min").values()) > 1e6, "memUsage")


def test_systemd_is_told():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
            n.bind(path)
            n.settimeout(harness.DEADLINE)
            with Server(env={"NOTIFY_SOCKET": path}) as s:
                equal(n.recv(100), b"READY=1")
                equal(s.stop(), 0)
                equal(n.recv(100), b"STOPPING=1")


def test_admin_orders_are_done_when_answered():
    with Server() as s:
        s.feed(["adm.s%d 1 %d" % (i, s.now) for i in range(100)])
        answer = s.admin("/admin/flush")
        equal((answer.status, answer.json["done"]), (200, "flush"))
        equal(s.metric("plumbago_unflushed_age_seconds"), 0)
        answer = s.admin("/admin/seal")
        equal((answer.status, answer.json["done"]), (200, "seal"))
        equal(s.metric("plumbago_open_windows"), 0)
        check(s.metric("plumbago_segment_bytes") > 0, "no segment")
        equal(s.points("adm.s7", from_=s.now - 60, until=s.now + 10), {s.now: 1.0}, "points after the seal")
        equal(s.admin("/admin/seal", "GET").status, 405)
        equal(s.admin("/admin/nothing").status, 404)
        equal(s.request("POST", "/admin/seal").status, 404, "on the public port")
        equal(os.stat(s.listening["admin"]).st_mode & 0o777, 0o600, "mode of the admin socket")


def test_a_killed_servers_leftovers_do_not_deceive():
    with Server() as s, socket.socket() as c:
        s.kill()
        c.bind(("127.0.0.1", 0))
        c.listen()
        s.flags["carbon"] = "127.0.0.1:%d" % c.getsockname()[1]  # so that the next start fails half-way
        s.launch()
        equal(s.wait_end(), 1, "exit status")
        check(not os.path.exists(s.data + "/listening.json"), "listening.json of the killed server is still there")


if __name__ == "__main__":
    harness.main(__name__)
