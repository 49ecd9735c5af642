"""What a line of carbon's plaintext protocol means, read a second time and as plainly as can be, for comparison with
the server. The rules: server/line_parse.h and storage/name.h."""

import math

LINE_MAX = 16384


class Refused(Exception):
    """Carries the reason, in the words of plumbago_points_rejected_total."""


def canonical(name):
    """The name under which the points of NAME are kept."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in name):
        raise Refused("bad_name")
    if len(name.encode()) > 4096:
        raise Refused("bad_name")
    if "{" in name and name.endswith("}") and "=" in name:
        name = from_open_metrics(name)
    if ";" in name:
        return canonical_tagged(name)
    parts = [p for p in name.replace("/", ".").lstrip("~.").split(".") if p]
    if not parts or any(len(p.encode()) > 255 for p in parts):
        raise Refused("bad_name")
    return ".".join(parts)


def from_open_metrics(name):
    metric, _, inside = name[:-1].partition("{")
    tags = []
    for pair in inside.rstrip(",").split('",'):
        key, _, value = pair.partition('="')
        tags.append("%s=%s" % (key.strip(), value.rstrip('"')))
    return ";".join([metric] + tags)


def canonical_tagged(name):
    metric, *pairs = name.split(";")
    tags = {}
    metric = metric.lstrip("~")
    if not metric:
        raise Refused("bad_name")
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value or value.startswith("~") or set(key) & set(";!^="):
            raise Refused("bad_name")
        tags[key] = value
    tags.pop("name", None)
    return ";".join([metric] + sorted("%s=%s" % t for t in tags.items()))


def number(text, reason):
    try:
        return float(text)
    except ValueError:
        raise Refused(reason)


def parse(line, now, oldest, newest):
    """(name, value, time) of LINE, bytes without LF. None when it is empty."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused("utf8")
    fields = [f for f in text.replace("\t", " ").replace("\r", " ").replace("\v", " ").replace("\f", " ").split(" ") if f]
    if not fields:
        return None
    if len(fields) != 3:
        raise Refused("fields")
    value = number(fields[1], "value")
    t = -1.0 if fields[2] == "N" else number(fields[2], "timestamp")
    if math.isnan(t) or math.isinf(t):
        raise Refused("timestamp")
    t = int(t)
    if t == -1:
        t = now
    if math.isnan(value):
        raise Refused("nan")
    name = canonical(fields[0])
    if t < oldest:
        raise Refused("too_old")
    if t > newest:
        raise Refused("future")
    return name, value, t


def parse_all(data, now, oldest, newest):
    """({(name, time): value}, {reason: count}) of all lines in DATA; the last write of a second wins."""
    points = {}
    refused = {}
    for line in data.split(b"\n"):
        try:
            point = parse(line, now, oldest, newest)
        except Refused as e:
            refused[str(e)] = refused.get(str(e), 0) + 1
            continue
        if point:
            points[point[0], point[2]] = point[1]
    return points, refused
