#!/usr/bin/env python3
"""The examples of docs/api.md and docs/operate.md are run, and answer as they say."""

import json
import os
import re
import subprocess

import harness
from harness import Server, check, equal, until


def examples(name):
    """(command line, JSON text that it should answer or None) of the code blocks of a page."""
    with open(os.path.join(harness.ROOT, "docs", name)) as f:
        blocks = re.findall(r"^```\n(.*?)^```", f.read(), re.M | re.S)
    found = []
    for block in blocks:
        lines = block.splitlines()
        for i, line in enumerate(lines):
            if line.startswith("curl "):
                found.append((line, answer_in(lines[i + 1 :])))
    return found


def answer_in(lines):
    """The JSON text with which LINES begin, which may be several of them; None when it is none."""
    text = ""
    for line in lines:
        if line.startswith("curl ") or (not text and line[:1] not in ("[", "{")):
            break
        text += line
    return text or None


def members(answer):
    """The names and types in an answer of /render: of its first series, or of all there is when it explains."""
    answer = answer[0] if isinstance(answer, list) else answer
    return {k: type(v) for k, v in answer.items()}


def shape(value):
    """A JSON value with its numbers and nulls made equal."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return 0 if value is None or isinstance(value, (int, float)) else value


def run(s, line):
    line = line.replace("http://127.0.0.1:8080", "http://" + s.listening["http"])
    line = line.replace("data/admin.sock", s.listening["admin"])
    r = subprocess.run(line + " -sS --fail", shell=True, capture_output=True, text=True, timeout=harness.DEADLINE)
    equal((r.returncode, r.stderr), (0, ""), "outcome of %s" % line)
    return r.stdout


def test_examples_of_the_api():
    found = examples("api.md")
    check(len(found) >= 5, "only %d examples" % len(found))
    with Server() as s:
        s.send("web.a.cpu 1.5 %d" % s.now)
        until(lambda: s.find("*"), "web")
        for line, want in found:
            got = json.loads(run(s, line) or "null")
            if want and "/render" not in line:  # how many points a range has depends on the clock
                equal(shape(got), shape(json.loads(want)), "answer to %s" % line)
            elif want:
                equal(members(got), members(json.loads(want)), "members of %s" % line)


def test_examples_of_operating():
    found = examples("operate.md")
    equal(len(found), 2, "examples")
    with Server() as s:
        s.feed("a.b 1 %d" % s.now)
        for line, want in found:
            equal(shape(json.loads(run(s, line))), shape(json.loads(want)), "answer to %s" % line)


if __name__ == "__main__":
    harness.main(__name__)
