"""Compares an answer with the recorded one. Every function gives None, or what is different."""
import json
import math
import re

import decode

TOLERANCE = 1e-9            # relative; and a thousandth of it of the largest value of the same series
PLACE = re.compile(r'\{T([+-]\d+)(?:\|([^{}]*))?\}')
WHOLE = re.compile(r'\{([TMS])([+-]\d+)\}')
SPECIAL = {'{inf}': math.inf, '{-inf}': -math.inf, '{nan}': math.nan}
NUMBER = re.compile(r'(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w)')
# What a server adds of its own: its metrics, and the branch in which graphite keeps tagged series.
OWN = re.compile(r'^(_tagged|carbon(\.|$))|(^|[.*])([0-9a-f]{3}|[0-9a-f]{64})$')


OWN_KEYS = {'isLeaf'}       # which carbonapi wants beside is_leaf


# ---- times in texts ----
def filled(value, base):
    """{T+n} and {T+n|format} in all strings of VALUE."""
    import time

    def instant(found):
        t = base + int(found.group(1))
        return time.strftime(found.group(2), time.gmtime(t)) if found.group(2) else str(t)
    return walk(value, lambda text: PLACE.sub(instant, text))


def meant(value, base):
    """The same for expectations, where a whole string may stand for a number."""
    def one(text):
        found = WHOLE.fullmatch(text)
        if found:
            t = base + int(found.group(2))
            return {'T': t, 'M': 1000 * t, 'S': str(t)}[found.group(1)]
        return SPECIAL[text] if text in SPECIAL else filled(text, base)
    return walk(value, one)


def walk(value, change):
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [walk(v, change) for v in value]
    if isinstance(value, dict):
        return {change(k): walk(v, change) for k, v in value.items()}
    return value


# ---- values ----
def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def shown(v):
    text = json.dumps(v, default=str)
    return text if len(text) < 150 else text[:147] + '...'


def close(a, b, largest, tolerance):
    if a == b or (a != a and b != b):
        return True
    return math.isfinite(a) and math.isfinite(b) and \
        abs(a - b) <= max(tolerance * max(abs(a), abs(b)), tolerance * 1e-3 * largest)


def largest_of(values):
    return max([abs(v) for v in values if is_number(v) and math.isfinite(v)], default=0.0)


def differs(want, got, rules, where='answer', largest=0.0):
    if is_number(want) and is_number(got):
        same = close(want, got, largest, rules.get('rtol', TOLERANCE))
        return None if same else '%s: %r, not %r' % (where, got, want)
    if type(want) is not type(got):
        return '%s: %s, not %s' % (where, shown(got), shown(want))
    if isinstance(want, dict):
        if want.keys() != got.keys():
            return '%s: keys %s, not %s' % (where, shown(sorted(got)), shown(sorted(want)))
        return first(differs(want[k], got[k], rules, '%s.%s' % (where, k), largest) for k in want)
    if isinstance(want, list):
        return list_differs(want, got, rules, where, largest)
    return None if want == got else '%s: %s, not %s' % (where, shown(got), shown(want))


def list_differs(want, got, rules, where, largest):
    if len(want) != len(got):
        return '%s: %d elements, not %d' % (where, len(got), len(want))
    if rules.get('unordered'):
        want, got = (sorted(v, key=lambda x: json.dumps(x, sort_keys=True, default=str)) for v in (want, got))
    if all(v is None or is_number(v) for v in want):
        largest = largest_of(want)
    return first(differs(a, b, rules, '%s[%d]' % (where, i), largest) for i, (a, b) in enumerate(zip(want, got)))


def first(differences):
    return next((d for d in differences if d is not None), None)


# ---- series: offsets instead of times, and an infinity may be null ----
def series_differ(want, got, rules, base):
    if not isinstance(got, list):
        return 'answer: %s, not a list' % shown(got)
    names = [filled(s['target'], base) for s in want]
    found = [s.get('target') if isinstance(s, dict) else None for s in got]
    if rules.get('unordered'):
        want = sorted(want, key=lambda s: filled(s['target'], base))
        got = sorted(got, key=lambda s: str(s.get('target')))
        names, found = sorted(names), sorted(found, key=str)
    if names != found:
        return 'targets: %s, not %s' % (shown(found), shown(names))
    return first(one_differs(s, g, rules, base) for s, g in zip(want, got))


def one_differs(want, got, rules, base):
    where = filled(want['target'], base)
    keys = {'target', 'tags', 'datapoints'} - ({'tags'} if 'tags' not in want else set())
    if set(got) - {'tags'} != keys - {'tags'}:
        return '%s: keys %s' % (where, shown(sorted(got)))
    tags = differs(meant(want['tags'], base), got.get('tags'), rules, where + '.tags') if 'tags' in want else None
    points = [[meant(v, base), base + t] for v, t in want['datapoints']]
    return tags or points_differ(points, got['datapoints'], rules, where, base)


def points_differ(want, got, rules, where, base):
    if len(want) != len(got):
        return '%s: %d points, not %d' % (where, len(got), len(want))
    largest = largest_of([v for v, _ in want])
    for i, ((v, t), (have, at)) in enumerate(zip(want, got)):
        place = '%s: point %d' % (where, i)
        if t != at:
            return '%s: at BASE%+d, not %+d' % (place, at - base, t - base)
        if rules.get('ignore_values') or (have is None and is_number(v) and math.isinf(v)):
            continue
        different = differs(v, have, rules, '%s (BASE%+d)' % (place, t - base), largest)
        if different:
            return different
    return None


# ---- texts ----
def text_differs(want, got, rules):
    wanted, have = want.splitlines(), got.splitlines()
    if len(wanted) != len(have):
        return '%d lines, not %d' % (len(have), len(wanted))
    for n, (a, b) in enumerate(zip(wanted, have)):
        x, y = NUMBER.findall(a), NUMBER.findall(b)
        if NUMBER.split(a) != NUMBER.split(b) or len(x) != len(y) or \
                not all(close(float(p), float(q), 0.0, rules.get('rtol', TOLERANCE)) for p, q in zip(x, y)):
            return 'line %d: %s, not %s' % (n + 1, shown(b), shown(a))
    return None


def exact_differs(want, got):
    if want == got:
        return None
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    return 'byte %d: %s, not %s' % (at, shown(got[at:at + 50]), shown(want[at:at + 50]))


# ---- whole answers ----
def without_keys(value, keys):
    if isinstance(value, dict):
        return {k: without_keys(v, keys) for k, v in value.items() if k not in keys}
    return [without_keys(v, keys) for v in value] if isinstance(value, list) else value


def without_extensions(value):
    """Of /functions: without those that graphite-web does not have."""
    if not isinstance(value, dict):
        return value
    return {k: without_extensions(v) for k, v in value.items() if not (isinstance(v, dict) and 'extension' in v)}


def without_own(value):
    def own(v):
        name = (v.get('path') or v.get('id') or '') if isinstance(v, dict) else v
        return isinstance(name, str) and OWN.search(name) is not None
    if isinstance(value, dict):
        return {k: without_own(v) for k, v in value.items()}
    return [without_own(v) for v in value if not own(v)] if isinstance(value, list) else value


def check(expect, status, content_type, body, base):
    """What differs between the answer and EXPECT of a case, or None."""
    rules = expect.get('compare', {})
    allowed = expect.get('status_ok', [expect['status']])
    if status not in allowed:
        return 'status %d, not %s' % (status, ' or '.join(map(str, allowed)))
    if 500 in allowed:
        return None                 # the recorded server crashed: any refusal will do
    if expect.get('content_type', content_type) != content_type:
        return 'content type %s, not %s' % (content_type, expect['content_type'])
    kind = expect.get('kind')
    if kind is None:
        return None
    try:
        got = decode.read(kind, body)
    except Exception as error:      # whatever an unreadable answer throws
        return 'not readable as %s: %s' % (kind, error)
    if rules.get('error_shape'):
        fine = isinstance(got, dict) and isinstance(got.get('error'), str)
        return None if fine else 'no {"error": text}: %s' % shown(got)
    got = without_keys(got, set(rules.get('ignore_keys', ())) | OWN_KEYS)
    if kind == 'json' and isinstance(got, dict):
        got = without_extensions(got)
    got = without_own(got) if rules.get('drop_tagged') else got
    if kind == 'series':
        return series_differ(expect['series'], got, rules, base)
    if kind == 'text':
        return text_differs(filled(expect['body'], base), got, rules)
    if kind == 'exact':
        return exact_differs(filled(expect['body'], base), got)
    return differs(meant(expect['json'], base), got, rules)
