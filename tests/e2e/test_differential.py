#!/usr/bin/env python3
"""A few hundred random targets, answered as the real graphite-web answers them: tests/differential."""

import os
import subprocess

import harness
from harness import check

RUN = os.path.join(harness.ROOT, "tests", "differential", "run.py")
PYTHON = "/usr/bin/python3"  # for which Debian installs graphite-web


def test_random_targets_are_answered_as_by_graphite_web():
    if not os.path.exists(PYTHON):
        print("skipped: no %s" % PYTHON)
        return
    env = dict(os.environ, PLUMBAGO=harness.PLUMBAGO)
    for seed in ("1", "2"):
        done = subprocess.run([PYTHON, RUN, "--count", "300", "--seed", seed], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        check(done.returncode == 0, done.stdout[-3000:])
        print(done.stdout.strip())


if __name__ == "__main__":
    harness.main(__name__)
