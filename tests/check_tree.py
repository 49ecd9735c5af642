#!/usr/bin/env python3
"""The shape of the tree: which file may include which, and that nothing lies about unused.

Layers are base <- storage <- query <- server (tools stands beside server); an #include never points
back. From outside of storage/ only its face is included, storage/storage.h, and in query/ only by
source_storage.c. Tests and benches may include anything.

Prints one line per check, then "N passed, N failed".
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RANK = {"base": 0, "storage": 1, "query": 2, "server": 3, "tools": 3}
FOLDERS_WITH_README = ["base", "storage", "query", "server", "tools", "tests", "bench"]
# Where the Makefile compiles .c files from; anything else is built by nobody.
BUILT = re.compile(
    r"(base|storage|query|server|tools)/\w+\.c"
    r"|tests/(unit|model|crash)/test_\w+\.c|tests/help/\w+\.c|tests/fuzz/fuzz_\w+\.c"
    r"|bench/\w+\.c|bench/micro/\w+\.c"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def read_sources():
    """{path from the root: text} of all .c and .h files."""
    sources = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "data" and not re.fullmatch("build(-.*)?", f)]
        for name in files:
            if name.endswith((".c", ".h")):
                path = os.path.relpath(os.path.join(folder, name), ROOT)
                with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                    sources[path] = f.read()
    return sources


SOURCES = read_sources()
INCLUDES = {path: INCLUDE.findall(COMMENT.sub("", text)) for path, text in SOURCES.items()}


def layer(path):
    return path.split("/")[0]


def each_include():
    for path, included in sorted(INCLUDES.items()):
        for target in included:
            yield path, target


def includes_exist():
    return [f'{p} includes "{t}", which is not there (paths start at the root)'
            for p, t in each_include() if t not in SOURCES]


def includes_never_point_back():
    bad = []
    for path, target in each_include():
        if layer(path) not in RANK:
            continue
        if layer(target) not in RANK:
            bad.append(f'{path} includes "{target}": product code may not use tests or benches')
        elif RANK[layer(target)] > RANK[layer(path)]:
            bad.append(f'{path} includes "{target}": {layer(target)} lies above {layer(path)}')
    return bad


def storage_is_used_by_its_face():
    bad = []
    for path, target in each_include():
        if layer(target) != "storage" or layer(path) not in ("query", "server", "tools"):
            continue
        if target != "storage/storage.h":
            bad.append(f'{path} includes "{target}": outside of storage/ only storage/storage.h is')
        elif layer(path) == "query" and path != "query/source_storage.c":
            bad.append(f'{path} includes "{target}": in query/ only source_storage.c does')
    return bad


def own_header_comes_first():
    """Or a private one of the folder that brings the own one with it."""
    bad = []
    for path, included in sorted(INCLUDES.items()):
        own = path[:-1] + "h"
        if not path.endswith(".c") or own not in SOURCES:
            continue
        first = included[0] if included else None
        if first != own and own not in INCLUDES.get(first, []):
            bad.append(f"{path} does not begin with its own header")
    return bad


def every_source_is_built():
    return [f"{path} is built by nothing" for path in sorted(SOURCES)
            if path.endswith(".c") and not BUILT.fullmatch(path)]


def every_header_is_included():
    used = {target for path, target in each_include()}
    return [f"{path} is included by nothing" for path in sorted(SOURCES) if path.endswith(".h") and path not in used]


def every_header_declares_something():
    bad = []
    for path, text in sorted(SOURCES.items()):
        if not path.endswith(".h"):
            continue
        text = COMMENT.sub("", text)
        guard = "PLUMBAGO_" + re.sub(r"\W", "_", path).upper()
        if not re.search(rf"#ifndef {guard}\s+#define {guard}\b", text):
            bad.append(f"{path} has no include guard {guard}")
        macros = len(re.findall(r"^\s*#\s*define", text, re.M)) > 1
        if not macros and not re.sub(r"^\s*#.*$", "", text, flags=re.M).strip():
            bad.append(f"{path} declares nothing")
    return bad


def every_header_opens_with_what_it_is():
    return [f'{path} does not open with "/* {os.path.basename(path)} - ..."' for path, text in sorted(SOURCES.items())
            if path.endswith(".h") and not text.startswith(f"/* {os.path.basename(path)} - ")]


def every_folder_has_a_readme():
    return [f"{folder}/README.md is missing" for folder in FOLDERS_WITH_README
            if not os.path.exists(os.path.join(ROOT, folder, "README.md"))]


CHECKS = [includes_exist, includes_never_point_back, storage_is_used_by_its_face, own_header_comes_first,
          every_source_is_built, every_header_is_included, every_header_declares_something,
          every_header_opens_with_what_it_is, every_folder_has_a_readme]


def main():
    failed = 0
    for check in CHECKS:
        bad = check()
        failed += bool(bad)
        print(f"FAIL {check.__name__}: {'; '.join(bad)}" if bad else f"ok {check.__name__}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
