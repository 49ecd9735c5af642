#!/usr/bin/env python3
"""A full disk: points are refused and counted, the log says so, nobody dies, what was stored stays, and when there is
room again everything goes on.

The data directory lies on a small ext4 image that is mounted by loop, or on a small tmpfs where that is not possible.
Without the right to mount, the tests are skipped, and say so.
"""

import os
import shutil
import subprocess
import tempfile

import harness
from harness import Failure, Server, check, equal, until

MIB = 1 << 20
SERIES = 500
STEP = 10  # of the built-in schema
WINDOW = 1200  # seconds


class Disk:
    """A file system of SIZE bytes at .path."""

    def __init__(self, size):
        self.dir = tempfile.mkdtemp(prefix="plumbago-disk-")
        self.path = os.path.join(self.dir, "mounted")
        self.image = os.path.join(self.dir, "image")
        os.mkdir(self.path)
        self.kind = self.mount(size)

    def mount(self, size):
        def run(*command):
            return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

        with open(self.image, "wb") as f:
            f.truncate(size)
        mkfs = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if mkfs and run(mkfs, "-q", "-m", "0", self.image) and run("mount", "-o", "loop", self.image, self.path):
            return "ext4"
        if run("mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", self.path):
            return "tmpfs"
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.kind:
            subprocess.run(["umount", "-l", self.path])
        shutil.rmtree(self.dir, ignore_errors=True)

    def free(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def fill(self, leave=0):
        """Take all space but LEAVE bytes with a file of nobody's."""
        with open(os.path.join(self.path, "ballast"), "ab", buffering=0) as f:
            size = 65536
            while size > 0:
                try:
                    if self.free() <= leave:
                        return
                    f.write(b"\xff" * min(size, max(512, self.free() - leave)))
                except OSError:
                    size //= 2  # the last blocks go one by one

    def make_room(self):
        os.unlink(os.path.join(self.path, "ballast"))


def server_on(disk, **flags):
    given = {"data-dir": os.path.join(disk.path, "data"), "min-free-bytes": "2M", "sync-interval": 50, "seal-grace": 86400}
    given.update({k.replace("_", "-"): v for k, v in flags.items()})
    server = Server(given, start=False)
    server.data = given["data-dir"]
    return server.start()


def value_of(series, t):
    return (series * 7919 + t) % 99991 / 4


def window_lines(server, prefix, number):
    """Two points of every series in a window that has ended; there are NUMBER between it and the present one."""
    start = server.now - server.now % WINDOW - (number + 1) * WINDOW
    return ["%s.m%d %r %d" % (prefix, s, value_of(s, t), t) for t in (start, start + 600) for s in range(SERIES)]


def send_counted(server, lines):
    """Send LINES and wait until each is stored or refused; how many were stored."""
    stored, refused = server.received(), server.rejected()
    server.send(lines)
    until(lambda: server.received() + server.rejected() >= stored + refused + len(lines), "all lines to be counted")
    equal(server.received() + server.rejected(), stored + refused + len(lines), "stored and refused")
    return server.received() - stored


def read_back(server, prefix, windows):
    """How many points there are in the window WINDOWS and those after it; each must have the right value."""
    start = server.now - server.now % WINDOW - (windows + 1) * WINDOW - 1
    count = 0
    for one in server.render("%s.*" % prefix, from_=start, until=server.now):
        series = int(one["target"].rsplit("m", 1)[1])
        for v, t in one["datapoints"]:
            if v is not None:
                equal(v, value_of(series, t), "%s at %d" % (one["target"], t))
                count += 1
    return count


def disk_full_refusals(server):
    return sum(v for k, v in server.metric_all("plumbago_points_rejected_total").items() if "disk_full" in k)


def fill_with_windows(server, prefix):
    """Store into one window after another until points are refused. (how many were stored, in how many windows)"""
    stored = 0
    for number in range(1, 60):
        stored += send_counted(server, window_lines(server, prefix, number))
        if disk_full_refusals(server):
            return stored, number
    raise Failure("the disk never got full")


def skipped(disk):
    if not disk.kind:
        print("skip: no file system can be mounted here")
    return not disk.kind


def test_ingest_until_the_disk_is_full_and_on_when_there_is_room():
    with Disk(24 * MIB) as disk:
        if skipped(disk):
            return
        with server_on(disk) as server:
            first = send_counted(server, window_lines(server, "first", 0))
            equal(first, 2 * SERIES, "stored at the beginning")
            disk.fill(leave=8 * MIB)
            stored, windows = fill_with_windows(server, "grow")
            check(windows > 1, "full at once")
            until(lambda: "disk" in server.log() and "full" in server.log(), "a line in the log about the full disk")
            equal(server.metric("plumbago_disk_full"), 1, "plumbago_disk_full")
            for number in range(30, 50):  # much more of what cannot be stored
                equal(send_counted(server, window_lines(server, "grow", number)), 0, "stored on a full disk")
            known = send_counted(server, window_lines(server, "first", 0))
            equal(known, 2 * SERIES, "points of an open window, which need no space")
            equal(read_back(server, "first", 0), 2 * SERIES, "points read while the disk is full")
            equal(read_back(server, "grow", 50), stored, "points read while the disk is full")
            check(len(server.find("*")) >= 2, "find on a full disk")

            disk.make_room()
            until(lambda: send_counted(server, window_lines(server, "again", 20)) == 2 * SERIES, "storing again")
            equal(server.metric("plumbago_disk_full"), 0, "plumbago_disk_full")
            equal(read_back(server, "grow", 50), stored, "points after there was room")
            equal(read_back(server, "again", 21), 2 * SERIES, "new points after there was room")
            equal(server.stop(), 0, "exit status")
            server.restart()
            equal(read_back(server, "first", 0), 2 * SERIES, "points after a restart")
            equal(read_back(server, "grow", 50), stored, "points after a restart")
            equal(read_back(server, "again", 21), 2 * SERIES, "points after a restart")
            equal(server.metric("plumbago_damaged_chunks_total"), 0, "damaged chunks")


def test_not_one_byte_left_for_new_names_and_windows():
    """The disk is filled by somebody else to the last block, past every reserve of the server."""
    with Disk(24 * MIB) as disk:
        if skipped(disk):
            return
        with server_on(disk, min_free_bytes=0) as server:
            equal(send_counted(server, window_lines(server, "first", 0)), 2 * SERIES, "stored at the beginning")
            disk.fill()
            for number in range(0, 20):
                lines = ["new%d.%s.m%d 1 %d" % (number, "x" * 200, i, server.now) for i in range(500)]
                send_counted(server, lines)  # some fit into what series.log and the open grid have reserved
                send_counted(server, window_lines(server, "first", number + 1))
            check(disk_full_refusals(server) > 0, "nothing was refused")
            equal(read_back(server, "first", 0), 2 * SERIES, "points read while the disk is full")
            names = int(server.metric("plumbago_series"))
            stored = read_back(server, "first", 30)

            server.kill()  # the worst moment for that
            server.restart()
            equal(read_back(server, "first", 30), stored, "points after kill -9 on a full disk")
            equal(int(server.metric("plumbago_series")), names, "series after kill -9 on a full disk")

            disk.make_room()
            until(lambda: send_counted(server, window_lines(server, "first", 22)) == 2 * SERIES, "storing again")
            lines = ["last.m%d 1 %d" % (i, server.now) for i in range(500)]
            equal(send_counted(server, lines), 500, "new names after there was room")
            equal(server.stop(), 0, "exit status")
            server.restart()
            equal(read_back(server, "first", 30), stored + 2 * SERIES, "points at the end")


def test_sealing_on_a_full_disk_damages_nothing():
    with Disk(24 * MIB) as disk:
        if skipped(disk):
            return
        with server_on(disk, min_free_bytes=0) as server:
            stored = sum(send_counted(server, window_lines(server, "seal", n)) for n in range(0, 6))
            equal(stored, 6 * 2 * SERIES, "stored at the beginning")
            disk.fill()
            status = server.admin("/admin/seal").status
            check(status in (200, 500, 503, 507), "sealing on a full disk answers %d" % status)
            equal(read_back(server, "seal", 6), stored, "points after sealing on a full disk")
            server.kill()
            server.restart()
            equal(read_back(server, "seal", 6), stored, "points after kill -9")
            disk.make_room()
            until(lambda: server.admin("/admin/seal").status == 200, "sealing when there is room")
            check(sum(server.metric_all("plumbago_segments").values()) > 0, "nothing was sealed")
            equal(read_back(server, "seal", 6), stored, "points after sealing")
            equal(server.stop(), 0, "exit status")
            server.restart()
            equal(read_back(server, "seal", 6), stored, "points after a restart")
            equal(server.metric("plumbago_damaged_chunks_total"), 0, "damaged chunks")


if __name__ == "__main__":
    harness.main(__name__)
