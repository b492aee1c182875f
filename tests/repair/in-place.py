#!/usr/bin/python3
"""Each kind of damage, repaired in place, with the power cut at every flush and in between.

    in-place.py PROGRAM [--seed N] [--rounds N]

PROGRAM is built from in_place.c, which says what is looked for.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))

import build            # noqa: E402
import damage           # noqa: E402

LEAST = 100             # kinds that must come out repaired, or the test looks at nothing


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("THINBD_SEED") or random.randrange(1 << 32)))
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("THINBD_ROUNDS") or 1))
    options = parser.parse_args(arguments)
    print("THINBD_SEED=%d" % options.seed)
    pool = build.PRESETS["rich"]()
    good = build.build(pool)
    for seed in range(options.seed, options.seed + options.rounds):
        with tempfile.TemporaryDirectory() as directory:
            files = []
            for name in damage.KINDS:
                files.append(Path(directory) / name)
                damage.apply(good, name, seed).write(files[-1])
            result = subprocess.run([options.program, str(pool.data_blocks), str(seed % (1 << 32)), *files],
                                    stdout=subprocess.PIPE, text=True, timeout=600, check=False)
        print(result.stdout, end="")
        if result.returncode:
            return 1
        if int(result.stdout.split()[0]) < LEAST:
            print("fewer than %d" % LEAST)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
