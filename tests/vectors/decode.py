"""Reads the answers of Graphite's formats into plain Python values."""
import json
import pickle
import io
import re
import struct


class Intervals:
    """Stands for graphite's classes Interval and IntervalSet in pickled find answers."""

    def __setstate__(self, state):
        self.__dict__.update(state)


class Unpickler(pickle.Unpickler):
    """Only plain data and the two interval classes."""

    def find_class(self, module, name):
        if module == 'graphite.intervals' and name in ('Interval', 'IntervalSet'):
            return Intervals
        if (module, name) in (('copyreg', '_reconstructor'), ('copy_reg', '_reconstructor')):
            import copyreg
            return copyreg._reconstructor
        if (module, name) in (('builtins', 'object'), ('__builtin__', 'object')):
            return object
        raise pickle.UnpicklingError('%s.%s may not be in an answer' % (module, name))


def plain(value):
    if isinstance(value, Intervals):
        fields = value.__dict__
        return plain(fields['intervals']) if 'intervals' in fields else [fields['start'], fields['end']]
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else value


class Msgpack:
    """https://github.com/msgpack/msgpack/blob/master/spec.md, without extension types."""

    FIXED = {0xc0: None, 0xc2: False, 0xc3: True}
    NUMBER = {0xca: '>f', 0xcb: '>d', 0xcc: '>B', 0xcd: '>H', 0xce: '>I', 0xcf: '>Q',
              0xd0: '>b', 0xd1: '>h', 0xd2: '>i', 0xd3: '>q'}
    SIZED = {0xc4: ('>B', 'text'), 0xc5: ('>H', 'text'), 0xc6: ('>I', 'text'),
             0xd9: ('>B', 'text'), 0xda: ('>H', 'text'), 0xdb: ('>I', 'text'),
             0xdc: ('>H', 'array'), 0xdd: ('>I', 'array'), 0xde: ('>H', 'map'), 0xdf: ('>I', 'map')}

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def sized(self, kind, size):
        if kind == 'array':
            return [self.value() for _ in range(size)]
        if kind == 'map':
            return dict((self.value(), self.value()) for _ in range(size))
        self.at += size
        if self.at > len(self.data):
            raise ValueError('msgpack ends too early')
        return self.data[self.at - size:self.at].decode('utf-8', 'replace')

    def value(self):
        first = self.number('>B')
        if first < 0x80:
            return first
        if first >= 0xe0:
            return first - 0x100
        for low, high, mask, kind in ((0x80, 0x8f, 15, 'map'), (0x90, 0x9f, 15, 'array'), (0xa0, 0xbf, 31, 'text')):
            if low <= first <= high:
                return self.sized(kind, first & mask)
        if first in self.FIXED:
            return self.FIXED[first]
        if first in self.NUMBER:
            return self.number(self.NUMBER[first])
        form, kind = self.SIZED[first]
        return self.sized(kind, self.number(form))


def msgpack(data):
    reader = Msgpack(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError('bytes behind the msgpack value')
    return value


def jsonp(data):
    found = re.fullmatch(r'\s*([^()\s]*)\((.*)\)\s*;?\s*', data.decode('utf-8'), re.S)
    if found is None:
        raise ValueError('this is no JSONP')
    return {'callback': found.group(1), 'data': json.loads(found.group(2))}


def image(data):
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        width, height = struct.unpack('>II', data[16:24])
        return {'type': 'png', 'width': width, 'height': height}
    head = re.search(r'<svg[^>]*>', data[:4000].decode('utf-8', 'replace'))
    if head is not None:
        size = {k: re.search(r'\b%s="([\d.]+)' % k, head.group(0)) for k in ('width', 'height')}
        return dict({k: m and int(float(m.group(1))) for k, m in size.items()}, type='svg')
    return {'type': 'pdf' if data.startswith(b'%PDF') else 'unknown'}


READERS = {
    'series': lambda data: json.loads(data.decode('utf-8')),
    'json': lambda data: json.loads(data.decode('utf-8')),
    'jsonp': jsonp,
    'pickle': lambda data: plain(Unpickler(io.BytesIO(data)).load()),
    'msgpack': msgpack,
    'image': image,
    'text': lambda data: data.decode('utf-8', 'replace'),
    'exact': lambda data: data.decode('utf-8', 'replace'),
}


def read(kind, data):
    return READERS[kind](data)
