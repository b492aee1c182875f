#!/usr/bin/python3
"""lib/audit and the independent audit of tests/oracle find the same in the same images.

    agree.py AUDIT_FILE [--seed N] [--rounds N]

Good pools of all presets and of random histories; each kind of damage, one at a time and some together; blocks of
garbage with right checksums.  Both must give the same verdict and name the same kinds of finding, save those in
DIFFERENT, each of which has its reason.  AUDIT_FILE is the program built from audit_file.c.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))

import audit            # noqa: E402
import build            # noqa: E402
import damage           # noqa: E402
import layout           # noqa: E402
from editor import Editor, Unsuitable           # noqa: E402

RANDOM_POOLS = 20
BATCH = 50              # images that are checked by one process

# What only one of the two may name, and why that is right.
DIFFERENT = {
    # 4 KiB to 1 GiB are ours; that Linux wants multiples of 64 KiB is but a note here.
    "SB_DATA_BLOCK_SIZE", "SB_BLOCK_SIZE_KERNEL",
    # Legal, though nobody writes it: but a note here.
    "MAX_ENTRIES_UNUSUAL",
    # Work is limited differently.
    "WORK_LIMIT",
    # lib/audit still judges counts where only bitmaps can not be read: no reference is lost with them.
    "COUNTS_NOT_JUDGED",
}

# After these little can be said of the rest, and each says another part of it.
DISORDER = {"KEY_ORDER", "SB_MAGIC"}

# What may come of a damage, and need not.
CONSEQUENCES = {
    # Of two exact counts whose keys are out of order across leaves only one is kept here.
    "OVERFLOW_STALE",
    # Not judged here where the index can not be read.
    "NR_ALLOCATED",
    # Of a child that is twice in its parent; see child-twice.
    "SHARED_NOT_FLAGGED",
}

# The same for single kinds of damage.
DIFFERENT_IN = {
    # Whichever of two trees comes first has the block; the other one is told of.
    "sb-roots-equal": {"NODE_VALUE_SIZE"},
    "child-of-other-tree": {"NODE_VALUE_SIZE"},
    # Keys without order say nothing about the children's.
    "internal-keys-swapped": {"PARENT_KEY_HIGH", "CHILD_KEY_HIGH"},
    # Here it takes two devices, or two nodes, to share.
    "child-twice": {"SHARED_NOT_FLAGGED"},
    # The block that should have been named is one that nothing names; see COUNTS_NOT_JUDGED.
    "bitmap-is-metadata-bitmap": {"METADATA_LEAK"},
}


def found_by_library(program, files):
    """{file name: (damaged, kinds)} as lib/audit finds."""
    result = subprocess.run([program, *map(str, files)], capture_output=True, text=True, timeout=300, check=False)
    if result.returncode not in (0, 1) or result.stderr:
        raise SystemExit("%s failed: %s %s" % (program, result.returncode, result.stderr[-2000:]))
    kinds, damaged = defaultdict(set), defaultdict(bool)
    for line in result.stdout.splitlines():
        name, kind, *rest = line.split(" ", 2)
        kinds[name].update() if kind == "clean" else kinds[name].add(kind.upper())
        damaged[name] |= kind != "clean" and not rest[0].startswith("note ")
    return {name: (damaged[name], kinds[name]) for name in map(str, files)}


def found_by_oracle(image):
    findings = audit.audit(image)
    return audit.is_damaged(findings), {finding.kind for finding in findings}


class Comparison:
    """Images to compare, in batches, and what came of it."""

    def __init__(self, program, directory):
        self._program = program
        self._directory = Path(directory)
        self._waiting = []
        self.compared = 0
        self.failures = []

    def add(self, name, image, expected=frozenset(), different=frozenset(), exact=True):
        """`expected`: kinds that both must name.

        `exact`: both must name the same kinds, but for `different`; None: unless there is DISORDER.
        """
        path = self._directory / ("%d.bin" % len(self._waiting))
        path.write_bytes(image.to_bytes())
        self._waiting.append((name, path, found_by_oracle(image), expected, DIFFERENT | different, exact))
        if len(self._waiting) == BATCH:
            self.flush()

    def flush(self):
        found = found_by_library(self._program, [item[1] for item in self._waiting])
        for name, path, *rest in self._waiting:
            self._compare(name, found[str(path)], *rest)
        self._waiting = []

    def _compare(self, name, ours, theirs, expected, different, exact):
        self.compared += 1
        ours_kinds, theirs_kinds = ours[1] - different, theirs[1] - different
        missing = expected - different - ours_kinds
        if missing:
            self.failures.append("%s: lib/audit does not name %s, but %s" % (name, sorted(missing), sorted(ours[1])))
        if ours[0] != theirs[0] and not theirs[1] & DIFFERENT:
            self.failures.append("%s: damaged? lib/audit %s %s, oracle %s %s" % (
                name, ours[0], sorted(ours[1]), theirs[0], sorted(theirs[1])))
        elif (not theirs[1] & DISORDER if exact is None else exact) and ours_kinds != theirs_kinds:
            self.failures.append("%s: only lib/audit names %s, only the oracle names %s" % (
                name, sorted(ours_kinds - theirs_kinds), sorted(theirs_kinds - ours_kinds)))


def add_good(comparison, seed):
    images = []
    for name, make in build.PRESETS.items():
        images.append(("preset %s" % name, build.build(make())))
    for i in range(RANDOM_POOLS):
        images.append(("random pool %d" % (seed + i), build.build(build.random_pool(seed + i))))
    for name, image in images:
        comparison.add(name, image)
    return [image for _, image in images]


def add_damages(comparison, rich, seed):
    for name, kind in damage.KINDS.items():
        comparison.add("damage %s, seed %d" % (name, seed), damage.apply(rich, name, seed), kind.expected,
                       DIFFERENT_IN.get(name, frozenset()))


def add_combined(comparison, rich, generator):
    """Three damages on top of each other: verdicts only, since one may hide the other."""
    names = sorted(damage.KINDS)
    chosen = [generator.choice(names) for _ in range(3)]
    image = rich
    for name in chosen:
        try:
            image = damage.apply(image, name, generator.randrange(1 << 32))
        except Exception:       # The damager trusts its input, which is damaged already.
            pass
    comparison.add("damages %s" % chosen, image, exact=False)


def used_blocks(image, generator):
    edit = Editor(image, generator)
    return [number for number in range(image.nr_blocks) if edit.metadata.bits(number)]


def add_scribbled(comparison, images, generator, name):
    """Words of some used blocks changed, checksums right again."""
    image = generator.choice(images).copy()
    words = [0, 1, 2, 3, 0xFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1]
    used = used_blocks(image, generator)
    for number in generator.sample(used, generator.randrange(1, 4)):
        block_type = layout.block_type(image.block(number))
        block = bytearray(image.block(number))
        offset = 4 * generator.randrange(3, generator.choice([16, 100, layout.BLOCK_SIZE // 4 - 1]))
        struct.pack_into("<Q", block, offset, generator.choice(words + used + [generator.getrandbits(64)]))
        image.put(number, layout.seal(block, block_type, number))
    comparison.add(name, image, different=CONSEQUENCES, exact=None)


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("THINBD_SEED") or random.randrange(1 << 32)))
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    print("THINBD_SEED=%d" % options.seed)
    generator = random.Random(options.seed)
    rich = build.build(build.PRESETS["rich"]())
    with tempfile.TemporaryDirectory() as directory:
        comparison = Comparison(options.program, directory)
        images = add_good(comparison, options.seed)
        for i in range(options.rounds):
            add_damages(comparison, rich, options.seed + i)
            for _ in range(20):
                add_combined(comparison, rich, generator)
            for j in range(100):
                add_scribbled(comparison, images, generator, "scribbled %d in round %d" % (j, i))
        comparison.flush()
    for failure in comparison.failures:
        print(failure)
    print("%d images compared, %d differences" % (comparison.compared, len(comparison.failures)))
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
