#!/usr/bin/env python3
"""Replays what a real Graphite answered, against plumbago: see README.md.

    run.py              all cases; fails when a case that expected.txt lists does not pass
    run.py REGEX...     only cases whose id one of them finds
    run.py --update     all cases; writes expected.txt anew
    run.py --verbose    prints also the cases that fail and are not listed

PLUMBAGO is the program to test (build/plumbago).
"""
import collections
import fnmatch
import http.client
import json
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import compare

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, 'expected.txt')
WEEK, DAY = 604800, 86400
PATIENCE = 30               # seconds for the server to start, and for the data to show


def lines_of(name):
    with lzma.open(os.path.join(HERE, name + '.xz'), 'rt', encoding='utf-8') as f:
        return [line for line in f if line.strip()]


# ---- the server ----
class Server:
    """A plumbago on free ports with a data directory of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='plumbago-vectors-', dir=os.environ.get('TMPDIR', '/tmp'))
        self.data = os.path.join(self.folder, 'data')
        program = os.environ.get('PLUMBAGO', os.path.join(HERE, '..', '..', 'build', 'plumbago'))
        with open(os.path.join(self.folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen(
                [program, '--data-dir', self.data, '--carbon', '127.0.0.1:0', '--http', '127.0.0.1:0',
                 '--carbon-udp', 'off', '--self-metrics', 'off',
                 '--schemas', os.path.join(HERE, 'storage-schemas.conf'),
                 '--aggregation', os.path.join(HERE, 'storage-aggregation.conf')], stdout=log, stderr=log)
        listening = self.wait_listening()
        self.carbon = self.address(listening['carbon'])
        self.http = self.address(listening['http'])

    def wait_listening(self):
        path = os.path.join(self.data, 'listening.json')
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if os.path.exists(path):
                with open(path) as f:
                    return json.load(f)
            time.sleep(0.02)
        self.stop()
        sys.exit('the server did not start:\n' + self.log)

    @staticmethod
    def address(text):
        host, port = text.rsplit(':', 1)
        return host, int(port)

    def stop(self):
        """Ends the server; true when it left without a complaint."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        with open(os.path.join(self.folder, 'log'), errors='replace') as f:
            self.log = f.read()[-3000:]
        shutil.rmtree(self.folder, ignore_errors=True)
        return code == 0


class Client:
    """One keep-alive connection."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(*address, timeout=PATIENCE)

    def send(self, request, base):
        path, body, headers = self.encode(request, base)
        for last in (False, True):
            try:
                self.connection.request(request.get('method', 'GET'), path, body=body, headers=headers)
                answer = self.connection.getresponse()
                kind = (answer.getheader('Content-Type') or '').split(';')[0].strip().lower()
                return answer.status, kind, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                if last:
                    return 0, '', str(error).encode()

    @staticmethod
    def encode(request, base):
        path = compare.filled(request['path'], base)
        headers = dict(request.get('headers') or {})
        body = None

        def pairs(items):
            return urllib.parse.urlencode([tuple(p) for p in compare.filled(items, base)])
        if request.get('params'):
            path += '?' + pairs(request['params'])
        if request.get('form') is not None:
            body = pairs(request['form']).encode()
            headers.setdefault('Content-Type', 'application/x-www-form-urlencoded')
        elif request.get('json') is not None:
            body = json.dumps(compare.meant(request['json'], base)).encode()
            headers.setdefault('Content-Type', 'application/json')
        elif request.get('body') is not None:
            body = compare.filled(request['body'], base).encode()
        return path, body, headers


# ---- the data ----
def read_points():
    """[(name, value as text, offset)] in file order."""
    points = []
    for line in lines_of('dataset.txt'):
        if not line.startswith('# '):
            name, value, offset = line.rsplit(None, 2)
            points.append((name, value, int(offset)))
    return points


def base_for(points, now):
    """The latest Monday 00:00 UTC for which all points lie in the past."""
    latest = int(now) - max(offset for _, _, offset in points)
    return (latest - 4 * DAY) // WEEK * WEEK + 4 * DAY


def feed(address, points, raw, base):
    with socket.create_connection(address) as carbon:
        carbon.sendall(''.join('%s %s %d\n' % (n, v, base + o) for n, v, o in points).encode())
    with socket.create_connection(address) as carbon:
        for line in raw:
            carbon.sendall(compare.filled(json.loads(line), base).encode())


def wait_for_data(client, points, raw, base):
    """Until the last line of either connection can be queried."""
    name, value, offset = json.loads(raw[-1]).split()
    wanted = [points[-1], (name, value, int(offset[2:-1]))]
    end = time.monotonic() + PATIENCE
    while wanted and time.monotonic() < end:
        name, value, offset = wanted[0]
        _, _, body = client.send({'path': '/render', 'params': [
            ['target', name], ['format', 'raw'], ['from', str(base + offset - 600)], ['until', str(base + offset)]]}, base)
        if body.decode('utf-8', 'replace').strip().endswith(('|%s' % float(value), ',%s' % float(value))):
            wanted.pop(0)
        else:
            time.sleep(0.02)
    if wanted:
        sys.exit('the data did not show up: %s' % wanted)


# ---- what is expected to pass ----
def read_expected():
    """[(passes, pattern, reason)]; the last that matches an id decides."""
    rules = []
    if os.path.exists(EXPECTED):
        with open(EXPECTED, encoding='utf-8') as f:
            for line in f:
                found = re.fullmatch(r'([+-]) (\S+)(?:\s+(.*))?', line.strip())
                if found:
                    rules.append((found.group(1) == '+', found.group(2), found.group(3) or ''))
    return rules


def listed(rules, case_id):
    return next((passes for passes, pattern, _ in reversed(rules) if fnmatch.fnmatchcase(case_id, pattern)), False)


def describe(prefix, results):
    """The shortest lines for the cases below PREFIX: all, all but some, or some."""
    good = [i for i, passed in results if passed]
    bad = [i for i, passed in results if not passed]
    if not bad:
        return ['+ %s/*' % prefix]
    if not good:
        return []
    if prefix.count('/') == 1:
        few = ['- ' + i for i in bad] if len(bad) <= len(good) else ['+ ' + i for i in good]
        return (['+ %s/*' % prefix] if len(bad) <= len(good) else []) + few
    groups = collections.OrderedDict()
    for i, passed in results:
        groups.setdefault(i.rsplit('/', 1)[0], []).append((i, passed))
    if 2 * len(good) < len(results):
        return [line for g, r in groups.items() for line in describe(g, r)]
    lines = ['+ %s/*' % prefix]
    for group, of_group in groups.items():
        passed = sum(p for _, p in of_group)
        if passed == 0:
            lines.append('- %s/*' % group)
        elif passed < len(of_group):
            lines += ['- ' + i for i, p in of_group if not p]
    return lines


def write_expected(results, rules):
    reasons = {('+ ' if passes else '- ') + pattern: reason for passes, pattern, reason in rules}
    areas = collections.OrderedDict()
    for case_id, passed in results:
        areas.setdefault(case_id.split('/')[0], []).append((case_id, passed))
    with open(EXPECTED, 'w', encoding='utf-8') as f:
        f.write('# Cases that must pass (+) and those that need not (-), with the reason; the last line that\n'
                '# matches a case decides. Written by run.py --update, which keeps the reasons.\n')
        for area in sorted(areas):
            for line in describe(area, areas[area]):
                f.write((line + '  ' + reasons.get(line, '')).rstrip() + '\n')


# ---- the run ----
def run_case(client, case, base):
    base = case.get('base', base)
    for request in case.get('before', ()):
        client.send(request, base)
    status, kind, body = client.send(case, base)
    difference = compare.check(case['expect'], status, kind, body, base) if status else 'no answer: %s' % body.decode()
    for request in case.get('after', ()):
        client.send(request, base)
    return difference


def run_all(server, cases, rules, verbose):
    points, raw = read_points(), lines_of('raw.jsonl')
    base = base_for(points, time.time())
    client = Client(server.http)
    feed(server.carbon, points, raw, base)
    wait_for_data(client, points, raw, base)
    for line in lines_of('setup.jsonl'):
        client.send(json.loads(line), base)
    results = []
    for case in cases:
        difference = run_case(client, case, base)
        must = listed(rules, case['id'])
        if difference and (must or verbose):
            print('%s %s: %s' % ('FAIL' if must else 'fails', case['id'], difference))
        if not difference and not must and rules:
            print('NEW  %s passes and is not listed in expected.txt' % case['id'])
        results.append((case['id'], difference is None))
    return results


def print_table(results):
    table = collections.OrderedDict()
    for case_id, passed in results:
        row = table.setdefault(case_id.split('/')[0], [0, 0])
        row[0] += passed
        row[1] += 1
    for area in sorted(table):
        print('%-16s %5d/%-5d' % (area, *table[area]))
    print('%-16s %5d/%-5d' % ('all', sum(p for _, p in results), len(results)))


def main():
    flags = {a for a in sys.argv[1:] if a.startswith('--')}
    wanted = [re.compile(a) for a in sys.argv[1:] if not a.startswith('--')]
    if flags - {'--update', '--verbose'} or ('--update' in flags and wanted):
        sys.exit(__doc__)
    rules = read_expected()
    cases = [json.loads(line) for line in lines_of('cases.jsonl')]
    cases = [c for c in cases if not wanted or any(w.search(c['id']) for w in wanted)]
    server = Server()
    try:
        results = run_all(server, cases, [] if '--update' in flags else rules, '--verbose' in flags)
    finally:
        clean = server.stop()
    print_table(results)
    if '--update' in flags:
        write_expected(results, rules)
        rules = read_expected()
    failed = sum(not passed and listed(rules, case_id) for case_id, passed in results)
    if not clean:
        print('the server did not stop cleanly:\n' + server.log)
    print('%d passed, %d failed' % (sum(p for _, p in results), failed))
    return 1 if failed or not clean else 0


if __name__ == '__main__':
    sys.exit(main())
