#!/usr/bin/env python3
"""A real graphite-web (the Debian package) in front of plumbago nodes, as its CLUSTER_SERVERS.

    with GraphiteWeb(["127.0.0.1:1234", "127.0.0.1:1235"]) as web:
        web.get("/metrics/find", {"query": "*"})

It has a process, a directory and a port of its own. Run as a program, this file is that process.
"""

import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

SETTINGS = """
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
CONF_DIR = STORAGE_DIR = LOG_DIR = WHISPER_DIR = STATIC_ROOT = %(dir)r
INDEX_FILE = %(dir)r + "/index"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": %(dir)r + "/db"}}
STORAGE_FINDERS = ["graphite.finders.remote.RemoteFinder"]
CLUSTER_SERVERS = %(servers)r
REMOTE_STORE_USE_POST = %(post)r
REMOTE_RETRY_DELAY = 0
FIND_CACHE_DURATION = 0
DEFAULT_CACHE_DURATION = 0
FIND_TIMEOUT = FETCH_TIMEOUT = 30.0
TIME_ZONE = "UTC"
LOG_ROTATION = False
FUNCTION_PLUGINS = []
"""


PYTHON = "/usr/bin/python3"  # for which Debian installs it
PACKAGE = "/usr/lib/python3/dist-packages/graphite/wsgi.py"


def is_installed():
    return os.path.exists(PYTHON) and os.path.exists(PACKAGE)


class GraphiteWeb:
    """SERVERS are "host:port" of the nodes. With POST, it asks them by multipart forms."""

    def __init__(self, servers, post=False):
        self.dir = tempfile.mkdtemp(prefix="plumbago-graphite-web-")
        with open(os.path.join(self.dir, "cluster_settings.py"), "w") as f:
            f.write(SETTINGS % {"dir": self.dir, "servers": servers, "post": post})
        env = dict(os.environ, PYTHONPATH=self.dir, PYTHONWARNINGS="ignore", PYTHONDONTWRITEBYTECODE="1",
                   DJANGO_SETTINGS_MODULE="graphite.settings", GRAPHITE_SETTINGS_MODULE="cluster_settings")
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen([PYTHON, os.path.abspath(__file__)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log, env=env, text=True)
        line = self.process.stdout.readline()  # its port, or nothing when it has ended
        if not line:
            text = self.errors()
            self.close()
            raise RuntimeError("graphite-web did not start: " + text)
        self.url = "http://127.0.0.1:%d" % int(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def errors(self):
        """What it has written to its logs, the end of it."""
        text = ""
        for name in ("log", "exception.log"):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f.read()[-3000:]
        return text

    def get(self, path, params=None):
        """Status and body."""
        url = self.url + path + ("?" + urllib.parse.urlencode(params, doseq=True) if params else "")
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def serve():
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from django.core.management import call_command
    from graphite.wsgi import application

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    with open(os.devnull, "w") as nowhere:
        call_command("migrate", "--run-syncdb", verbosity=0, stdout=nowhere)
    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(application)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
