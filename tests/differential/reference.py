"""graphite-web in this process: its own evaluator, over points in memory. See README.md."""
import datetime
import fnmatch
import importlib.util
import logging
import os
import re
import sys
import tempfile
import types
import warnings

PACKAGE = '/usr/lib/python3/dist-packages/graphite/render/evaluator.py'


# Debian's package is 1.1.8. What 1.1.10, the version that plumbago follows, has put right is put right here, too:
# windows that end before their point, None compared with a number, and seasons of no length.
PUT_RIGHT = [
    ('series[i - windowPoints:i] if', 'series[i - windowPoints + 1:i + 1] if'),
    ('if maxValue is not None and val > maxValue', 'if val is not None and maxValue is not None and val > maxValue'),
    ('if minValue is not None and val < minValue', 'if val is not None and minValue is not None and val < minValue'),
    ('season_length = (seasonality_time.seconds + (seasonality_time.days * 86400)) // series.step',
     'season_length = max(2, (seasonality_time.seconds + (seasonality_time.days * 86400)) // series.step)'),
]


def load_functions():
    """graphite.render.functions with PUT_RIGHT."""
    name = 'graphite.render.functions'
    spec = importlib.util.find_spec(name)
    source = spec.loader.get_source(name)
    for wrong, right in PUT_RIGHT:
        source = source.replace(wrong, right)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(source, spec.origin, 'exec'), module.__dict__)
    sys.modules['graphite.render'].functions = module


def is_installed():
    return os.path.exists(PACKAGE)


def globs(pattern, name):
    """Whether NAME fits PATTERN, with {a,b} but not nested."""
    braces = re.search(r'\{([^{}]*)\}', pattern)
    if braces:
        return any(globs(pattern[:braces.start()] + choice + pattern[braces.end():], name)
                   for choice in braces.group(1).split(','))
    parts, nodes = pattern.split('.'), name.split('.')
    return len(parts) == len(nodes) and all(fnmatch.fnmatchcase(n, p) for n, p in zip(nodes, parts))


class Reference:
    """SERIES: name -> (time of the first value, step, values)."""

    def __init__(self, series):
        warnings.simplefilter('ignore')
        logging.disable(logging.CRITICAL)
        self.series = series
        self.now = None
        self.folder = tempfile.TemporaryDirectory(prefix='plumbago-reference-')
        local = types.ModuleType('differential_settings')
        local.SECRET_KEY = 'of a test'
        local.TIME_ZONE = 'UTC'
        local.LOG_ROTATION = False
        for name in ('CONF_DIR', 'STORAGE_DIR', 'LOG_DIR', 'WHISPER_DIR', 'STATIC_ROOT'):
            setattr(local, name, self.folder.name)
        sys.modules['differential_settings'] = local
        os.environ['DJANGO_SETTINGS_MODULE'] = 'graphite.settings'
        os.environ['GRAPHITE_SETTINGS_MODULE'] = 'differential_settings'
        import django
        django.setup()
        load_functions()
        from graphite.functions import loadFunctions
        from graphite.render import datalib, evaluator, functions
        from graphite.tags.utils import TaggedSeries
        import pytz
        loadFunctions()
        self.utc = pytz.utc
        self.evaluator = evaluator
        self.parse = TaggedSeries.parse
        self.tagdb = self
        datalib.STORE = functions.STORE = self

    # ---- what graphite-web asks its store ----
    def fetch(self, patterns, startTime, endTime, now, requestContext):
        if startTime > self.now:        # whisper has nothing to say about the future
            return []
        return [self.answer(pattern, name, startTime, endTime) for pattern in patterns for name in sorted(self.series)
                if self.fits(pattern, name)]

    def fits(self, pattern, name):
        if not pattern.startswith('seriesByTag('):
            return globs(pattern, name)
        tags = self.parse(name).tags
        for expression in re.findall(r'"([^"]*)"', pattern):
            key, operator, value = re.match(r'([^!=]+)(!?=~?)(.*)', expression).groups()
            have = tags.get(key, '')
            hit = re.match('(?:%s)' % value, have) is not None if '~' in operator else have == value
            if hit == ('!' in operator):
                return False
        return True

    def answer(self, pattern, name, start, end):
        first, step, values = self.series[name]
        end = min(end, self.now)
        start, end = start - start % step + step, end - end % step + step
        end = max(end, start + step)
        at = [(t - first) // step for t in range(start, end, step)]
        return {'pathExpression': pattern, 'name': name, 'time_info': (start, end, step),
                'values': [values[i] if 0 <= i < len(values) else None for i in at]}

    # ---- what the test asks ----
    def evaluate(self, target, start, end, now):
        """A list of (name, start, end, step, values, tags), or the error as a text."""
        def when(t):
            return datetime.datetime.fromtimestamp(t, self.utc)
        self.now = now
        context = {'startTime': when(start), 'endTime': when(end), 'now': when(now), 'localOnly': False,
                   'template': {}, 'tzinfo': self.utc, 'forwardHeaders': {}, 'data': [], 'prefetched': {},
                   'xFilesFactor': 0.0, 'maxDataPoints': None, 'targets': [target], 'sourceIdHeaders': {}}
        try:
            answer = self.evaluator.evaluateTarget(context, [target])
            return [(s.name, s.start, s.end, s.step, list(s), dict(s.tags)) for s in answer]
        except Exception as error:      # whatever its functions throw is its answer
            return '%s: %s' % (type(error).__name__, error)
