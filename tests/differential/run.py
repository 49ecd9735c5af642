#!/usr/bin/python3
"""Random targets, answered by plumbago and by graphite-web: see README.md."""
import argparse
import json
import math
import os
import pickle
import random
import re
import sys
import tempfile
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'e2e')]
sys.dont_write_bytecode = True

import harness                  # noqa: E402
import reference                # noqa: E402

HOURS = 6                       # of data before now
SCHEMAS = '[a]\npattern=^s10\\.\nretentions=10s:30d\n[b]\npattern=^s300\\.\nretentions=300s:30d\n' \
          '[c]\npattern=.*\nretentions=60s:30d\n'

SKIPPED = {
    'randomWalk', 'randomWalkFunction',                                     # random
    'events', 'aliasQuery', 'seriesByTag',                                  # take texts of their own; in PATHS
    'map', 'mapSeries', 'reduce', 'reduceSeries',                           # lists of lists
    'compressPeriodicGaps', 'upper', 'lower',                               # newer than the Debian package
    'linearRegression', 'removeBetweenPercentile',                          # crash there on gaps and short series
}

# What may differ: (what of the target or the difference, why).
EXPLAINED = [
    (r'verticalLine.*names None', 'a line without a label has no name there, and prints as None here'),
    (r'applyByNode.*has no part', 'a part that the name lacks is an error here, an empty answer there'),
    (r'Invalid "\w+" value', 'an argument of the wrong type is refused here'),
    (r'an error there \((TypeError|IndexError|AttributeError|OverflowError):',
     'graphite-web crashes: on gaps, on numbers out of range, on names that are missing or have no parts'),
    (r'transformNull.*,referenceSeries', 'the series keeps its length here'),
]

PATHS = ['seriesByTag("name=tagged")', 'seriesByTag("host=~h[12]","dc!=")', 'tagged;dc=a;host=h1', 'srv.*.cpu',
         'srv.*.req', 'srv.web01.*', 'srv.{web01,web03}.temp', 'srv.web02.err', 'srv.web01.req', 's10.*.x',
         's300.a.x', 'const.one', 'srv.*.*', 'nosuch.x', '{srv,s10}.*.*']
AGGREGATIONS = ['average', 'avg', 'avg_zero', 'median', 'sum', 'total', 'min', 'max', 'diff', 'stddev', 'count',
                'range', 'rangeOf', 'multiply', 'last', 'current']
CALLBACKS = ['sum', 'avg', 'max', 'sumSeries', 'maxSeries', 'diff', 'count', 'averageSeries', 'rangeOf', 'median',
             'last']

# Good arguments by the name of the parameter; then by its type.
BY_NAME = {
    'xFilesFactor': ['0', '0.5', '1'], 'windowTolerance': ['0.1', '0.9'], 'step': ['60', '10', '7'],
    'base': ['2', '10'], 'timeShiftEnd': ['1', '2', '3'], 'operator': ['"="', '"!="', '">"', '">="', '"<"', '"<="'],
    'consolidationFunc': ['"sum"', '"avg"', '"max"', '"min"', '"last"', '"first"'],
    'alignTo': ['"hours"', '"minutes"', '"days"', '"weeks"'], 'intervalUnit': ['"10min"', '"1h"'],
    'valuesTypes': ['"%s"' % a for a in AGGREGATIONS] + ['"si"', '"binary"'],
    'pattern': ['"web01"', '"0[12]"', '"x$"', '"cpu|req"'], 'search': ['"web"', r'"\\."', r'"(srv)\.(\w+)"'],
    'replace': ['"X"', r'"\\1"'], 'templateFunction': ['"sumSeries(%.*)"', '"%.cpu"', '"scale(%.req,2)"'],
    'system': ['"si"', '"binary"'],
}
BY_TYPE = {
    'float': ['2', '0.5', '-1', '10', '50', '100', '3.7', '0', '"2"', '1e3'],
    'integer': ['1', '2', '3', '5', '0', '-1', '"2"', '100'], 'intOrInf': ['1', '2', '3', '5', '0', '100'],
    'intOrInterval': ['2', '5', '3', '"5min"', '"90s"', '"10min"', '"1h"'],
    'interval': ['"5min"', '"10min"', '"1h"', '"7min"', '"30s"'], 'boolean': ['true', 'false'],
    'node': ['0', '1', '2', '-1'], 'nodeOrTag': ['0', '1', '2', '-1', '-2', '"dc"', '"host"', '"name"'],
    'tag': ['"name"', '"dc"', '"host"'], 'aggFunc': ['"%s"' % a for a in AGGREGATIONS],
    'aggOrSeriesFunc': ['"%s"' % a for a in CALLBACKS], 'string': ['"foo"', '"bar baz"'],
}


class Targets:
    """Random targets over FUNCTIONS, the entries of /functions."""

    def __init__(self, rng, functions, now):
        self.rng = rng
        self.functions = functions
        self.dates = ['"%d"' % (now - 3600), '"%d"' % (now - 7200)]

    def argument(self, param, depth, function):
        kind, name = param['type'], param['name']
        if kind in ('seriesList', 'seriesLists'):
            return self.expression(depth - 1)
        if name == 'n' and 'ercentile' in function:
            return self.rng.choice(['10', '50', '90', '95'])
        if kind == 'date':
            return self.rng.choice(self.dates)
        if kind == 'any':
            return self.rng.choice([self.expression(0), '100', 'None'])
        return self.rng.choice(BY_NAME.get(name) or BY_TYPE[kind])

    def expression(self, depth):
        if depth <= 0 or self.rng.random() < 0.1:
            return self.rng.choice(PATHS)
        function = self.rng.choice(self.functions)
        out = []
        for param in function['params']:
            if param['name'] != 'endSliceAt' and not param.get('required') and self.rng.random() < 0.5:
                break
            out.append(self.argument(param, depth, function['name']))
            if param.get('multiple') and self.rng.random() < 0.5:
                out.append(self.argument(param, depth, function['name']))
        return '%s(%s)' % (function['name'], ','.join(out))


def values(rng, kind, count):
    out, v = [], rng.uniform(-50, 50)
    for _ in range(count):
        if kind == 'gauge':
            v = round(rng.uniform(0, 100), 2)
        elif kind == 'counter':
            v = float(max(v, 0) // 1 + rng.randint(0, 30)) if rng.random() > 0.05 else 0.0
        elif kind == 'negative':
            v = round(rng.uniform(-20, 20), 3)
        elif kind == 'small':
            v = float(rng.randint(0, 3))
        else:
            v = 7.0
        out.append(None if kind != 'constant' and rng.random() < 0.1 else v)
    return out


def make_series(rng, now):
    kinds = {'cpu': 'gauge', 'req': 'counter', 'temp': 'negative', 'err': 'small'}
    table = [('srv.%s.%s' % (host, m), 60, k) for host in ('web01', 'web02', 'web03') for m, k in kinds.items()]
    table += [('s10.a.x', 10, 'gauge'), ('s10.b.x', 10, 'negative'), ('s300.a.x', 300, 'gauge'),
              ('const.one', 60, 'constant'), ('tagged;dc=a;host=h1', 60, 'gauge'),
              ('tagged;dc=a;host=h2', 60, 'gauge'), ('tagged;dc=b;host=h3', 60, 'small')]
    return {name: (now - HOURS * 3600, step, values(rng, kind, HOURS * 3600 // step)) for name, step, kind in table}


# ---- comparing ----
def same(a, b, scale):
    if a is None or b is None:
        return all(v is None or math.isnan(v) for v in (a, b))
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    return math.isfinite(a) and math.isfinite(b) and abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1e-11 * scale


def same_tags(want, have):
    """Numbers in them may differ by rounding: sums are not taken in the same order everywhere."""
    def number(text):
        return float(text) if re.fullmatch(r'-?\d+(\.\d+)?(e[-+]?\d+)?', str(text)) else None
    return want.keys() == have.keys() and all(
        w == have[k] or (None not in (number(w), number(have[k])) and same(number(w), number(have[k]), 0))
        for k, w in want.items())


def one_differs(want, have, tags):
    name, start, end, step, points, want_tags = want
    if (start, end, step) != (have['start'], have['end'], have['step']):
        return '%s: times %s, here %s' % (name, (start, end, step), (have['start'], have['end'], have['step']))
    if len(points) != len(have['values']):
        return '%s: %d values, here %d' % (name, len(points), len(have['values']))
    scale = max([abs(v) for v in points if v is not None and math.isfinite(v)] or [0])
    for i, (a, b) in enumerate(zip(points, have['values'])):
        if not same(a, b, scale):
            return '%s: value %d is %r, here %r' % (name, i, a, b)
    return None if tags is None or same_tags(want_tags, tags) else '%s: tags %s, here %s' % (name, want_tags, tags)


def differs(want, status, body, tags):
    """What differs, as a text; None when nothing does."""
    if isinstance(want, str):
        return 'an error there (%s), here %s' % (want[:150], body[:100]) if status == 200 and body else None
    if status != 200:
        return 'an error here: %s; there %s' % (body[:300], [s[0] for s in want][:2])
    if [s[0] for s in want] != [s['name'] for s in body]:
        pair = next(((a[0], b['name']) for a, b in zip(want, body) if a[0] != b['name']), (len(want), len(body)))
        return 'names %s, here %s' % pair
    for i, (a, b) in enumerate(zip(want, body)):
        text = one_differs(a, b, tags[i] if tags else None)
        if text:
            return text
    return None


class Run:
    def __init__(self, server, seed, now):
        self.rng = random.Random(seed)
        self.now = now
        self.series = make_series(self.rng, now)
        self.server = server
        self.feed()
        self.connection = server.http()
        table = json.loads(server.get('/functions').body.replace(b'1e9999', b'1e300'))
        functions = [f for name, f in sorted(table.items()) if 'extension' not in f and name not in SKIPPED]
        self.targets = Targets(self.rng, functions, now)
        self.reference = reference.Reference(self.series)
        self.counts = {'equal': 0, 'refused by both': 0, 'explained': 0, 'different': 0}

    def feed(self):
        self.server.feed(['%s %r %d' % (name, v, first + i * step)
                          for name, (first, step, points) in self.series.items()
                          for i, v in enumerate(points) if v is not None])

    def ask(self, target, start, end, form):
        query = {'target': target, 'from': start, 'until': end, 'now': self.now, 'format': form}
        return self.server.request('GET', '/render?' + urllib.parse.urlencode(query), connection=self.connection)

    def compare(self, target, start, end):
        want = self.reference.evaluate(target, start, end, self.now)
        answer = self.ask(target, start, end, 'pickle')
        body = pickle.loads(answer.body) if answer.status == 200 else answer.body.decode(errors='replace').strip()
        tags = None
        if answer.status == 200 and not isinstance(want, str):
            tags = [s['tags'] for s in json.loads(self.ask(target, start, end, 'json').body or b'[]')]
            tags = tags if len(tags) == len(want) else None
        text = differs(want, answer.status, body, tags)
        if text is None:
            self.counts['refused by both' if isinstance(want, str) else 'equal'] += 1
        elif any(re.search(pattern, target + ' ' + text) for pattern, _ in EXPLAINED):
            self.counts['explained'] += 1
        else:
            self.counts['different'] += 1
            print('%s  from=-%d until=-%d\n    %s' % (target, self.now - start, self.now - end, text), flush=True)

    def random(self, count):
        for _ in range(count):
            target = self.targets.expression(self.rng.choice([1, 1, 2, 2, 3]))
            start = self.now - self.rng.choice([600, 1800, 3600, 7200]) - self.rng.choice([0, 0, 1, 30, 17])
            self.compare(target, start, self.now - self.rng.choice([0, 0, 60, 300, 47]))


def open_server(schemas):
    schemas.write(SCHEMAS)
    schemas.flush()
    return harness.Server({'schemas': schemas.name})


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=5000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--now', type=int, default=int(time.time()) // 3600 * 3600)
    parser.add_argument('--target')
    options = parser.parse_args(arguments)
    if not reference.is_installed():
        print('skipped: graphite-web (the Debian package) is not installed')
        return 0
    with tempfile.NamedTemporaryFile('w') as schemas, open_server(schemas) as server:
        run = Run(server, options.seed, options.now)
        if options.target:
            run.compare(options.target, options.now - 3600, options.now)
        else:
            run.random(options.count)
    print('seed %d, now %d: %s' % (options.seed, options.now,
                                   ', '.join('%d %s' % (n, what) for what, n in run.counts.items())))
    return 1 if run.counts['different'] else 0


if __name__ == '__main__':
    sys.exit(main())
