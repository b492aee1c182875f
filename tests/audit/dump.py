#!/usr/bin/python3
"""The walk of lib/audit prints what thin_dump prints, of the live state and of the metadata snapshot.

    dump.py AUDIT_FILE [--seed N]

Skipped (status 77) where thin_dump is not installed.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))

import build            # noqa: E402

RANDOM_POOLS = 10
TOOL = shutil.which("thin_dump", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def output(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode:
        raise SystemExit("%s: %s %s" % (" ".join(command), result.returncode, result.stderr[-2000:]))
    return result.stdout.splitlines()


def compare(name, ours, theirs):
    """0, or 1 having printed the first line that differs."""
    for number, (one, other) in enumerate(zip(ours + [None], theirs + [None])):
        if one != other:
            print("%s, line %d: lib/audit has %r, thin_dump has %r" % (name, number, one, other))
            return 1
    return 0


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("THINBD_SEED") or random.randrange(1 << 32)))
    options = parser.parse_args(arguments)
    if TOOL is None:
        print("thin_dump is not installed")
        return 77
    print("THINBD_SEED=%d" % options.seed)
    pools = {name: make() for name, make in build.PRESETS.items()}
    for i in range(RANDOM_POOLS):
        pools["random pool %d" % (options.seed + i)] = build.random_pool(options.seed + i)
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "image")
        for name, pool in pools.items():
            build.build(pool).write(path)
            failures += compare(name, output(options.program, "--dump", path), output(TOOL, path))
            if pool.held is not None:
                failures += compare(name + ", held", output(options.program, "--held", path), output(TOOL, "-m", path))
    print("%d pools compared, %d differences" % (len(pools), failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
