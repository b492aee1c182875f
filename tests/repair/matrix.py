#!/usr/bin/python3
"""Each kind of damage, and `thinbd check --repair` of a pool that has it.

    matrix.py THINBD [--seed N] [--rounds N] [--verbose] [KIND...]

A pool with several volumes and snapshots is damaged in each way that tests/oracle/damage.py knows.  Then either

- it is repaired: both auditors and thin_check are content, every mapping that could be read is the same as before,
  and what is missing is just what was announced, by volume and range; the old metadata are kept, bit for bit;
- or it is refused, or would lose something without --force: then one line says why, and not a byte has changed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "oracle"))

import audit            # noqa: E402
import build            # noqa: E402
import damage           # noqa: E402
import layout           # noqa: E402

BLOCK = 64 << 10
VOLUME_SIZE = 1 << 50
VOLUMES = 20            # that have a name; the other devices have none
THIN_CHECK = shutil.which("thin_check", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

# These say something else than before, and nothing about it is wrong: what counts is what they say.
PLAUSIBLE = {
    "leaf-stale", "device-roots-swapped", "double-mapping", "double-mapping-far", "double-mapping-uncounted",
    "mapping-stolen", "mapping-too-young", "delete-forgot-tree", "leaf-underfull", "internal-underfull",
    "mapping-past-end", "child-twice",
}

# Such pools can not be repaired: which devices there are, or what they are, is not known.
REFUSED = {
    "sb-checksum", "sb-zero", "sb-magic", "sb-blocknr", "sb-version", "sb-incompat", "sb-compat-ro",
    "sb-data-block-size-zero", "sb-data-block-size-odd", "sb-data-block-size-large", "sb-time-too-large", "sb-mapping-root-out-of-range",
    "sb-mapping-root-zero", "sb-mapping-root-free", "sb-roots-swapped", "top-level-checksum",
    "top-level-keys-swapped", "device-id-too-large", "data-nr-blocks-absurd", "metadata-nr-blocks-absurd",
    "data-nr-blocks-low", "metadata-nr-blocks-low", "held-out-of-range",
}

# What must not take anything away.
NOTES = {"sb-version-1", "sb-unknown-flag", "sb-compat", "sb-trans-id-lost", "sb-slack"}


def mappings(image):
    """{(device, vblock): dblock} as the oracle reads it."""
    run = audit.Audit(image)
    run.run()
    return {(device, vblock): dblock for device, vblock, dblock, _ in run.live.mappings()}


def digest(folder):
    """Of every file, by name."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("data", "lock")}


def somewhere():
    """Memory, where there is some: what is tried here is what is written, not when."""
    shm = "/dev/shm"
    if "TMPDIR" in os.environ:
        return None
    room = os.statvfs(shm) if os.access(shm, os.W_OK) else None
    return shm if room and room.f_bavail * room.f_frsize >= 1 << 30 else None


def make_pool(folder, image, pool):
    volumes = folder / "volumes"
    volumes.mkdir(parents=True)
    (folder / "pool.conf").write_text('version = 1;\nuuid = "4455849b-8d1b-4ff4-a2fa-3de2b2e738b8";\n')
    image.write(folder / "metadata")
    with open(folder / "data", "wb") as data:
        data.truncate(pool.data_blocks * BLOCK)
    for device in pool.devices[:VOLUMES]:
        (volumes / ("vm%d.conf" % device.id)).write_text(
            'device = %d;\nsize = "%d";\ncreated = "2026-01-01T00:00:00Z";\n' % (device.id, VOLUME_SIZE))


class Trial:
    def __init__(self, options, good, name, seed, directory):
        self.options, self.name = options, name
        self.folder = Path(directory) / "pool"
        self.pool, self.good, self.had = good
        self.image = damage.apply(self.good, name, seed)
        make_pool(self.folder, self.image, self.pool)
        self.before = digest(self.folder)

    def thinbd(self, *args):
        result = subprocess.run([self.options.thinbd, "--pool", self.folder, "--json", "check", *args],
                                capture_output=True, text=True, timeout=300, check=False)
        if result.returncode not in (0, 1):
            self.fail("status %d: %s" % (result.returncode, result.stderr[-2000:]))
        return json.loads(result.stdout), result

    def fail(self, why):
        raise AssertionError("%s: %s" % (self.name, why))

    def must(self, what, why):
        if not what:
            self.fail(why)

    def untouched(self):
        self.must(digest(self.folder) == self.before, "something was changed")

    def run(self):
        answer, result = self.thinbd("--repair")
        if "error" in answer:
            self.must(result.returncode == 1, "refused with status 0")
            self.must(len(result.stderr.splitlines()) == 1, "not one line: %s" % result.stderr)
            self.must("nothing was changed" in result.stderr, "not told: %s" % result.stderr)
            self.untouched()
            return "refused"
        if answer["clean"] and not answer["repaired"]:
            self.untouched()
            return "nothing to do"
        announced = answer["losses"]
        if announced:
            self.must(not answer["repaired"] and result.returncode == 1, "it lost something without --force")
            self.untouched()
            answer, result = self.thinbd("--repair", "--force")
            self.must(answer.get("losses") == announced, "it lost something else than announced")
        # A volume whose device went is not the metadata's to bring back.
        problems = [p["message"] for p in answer.get("problems", ()) if "is not in the metadata" not in p["message"]]
        self.must(answer.get("repaired") and (answer["clean"] or not problems or answer["errors"] == 0),
                  "not repaired: %s" % json.dumps(answer)[:2000])
        self.is_sound()
        self.is_the_same(announced)
        return "with losses" if announced else "repaired"

    def is_sound(self):
        path = self.folder / "metadata"
        self.after = layout.Image.of_bytes(path.read_bytes())
        findings = audit.audit(self.after)
        self.must(not audit.is_damaged(findings), "the oracle finds %s" % [str(f) for f in findings][:5])
        if THIN_CHECK:
            result = subprocess.run([THIN_CHECK, path], capture_output=True, text=True, timeout=300, check=False)
            self.must(result.returncode == 0, "thin_check: %s" % result.stderr[-2000:])
        if self.name != "sb-needs-check":
            kept = [path for path in self.folder.iterdir() if path.name.startswith("metadata.damaged-")]
            self.must(len(kept) == 1, "kept: %s" % kept)
            self.must(hashlib.sha256(kept[0].read_bytes()).hexdigest() == self.before["metadata"],
                      "what was kept is not what was there")
            left = {path.name for path in self.folder.iterdir()} - {kept[0].name}
            self.must(left <= {"metadata", "data", "lock", "pool.conf", "volumes"}, "left behind: %s" % left)

    def is_the_same(self, announced):
        had = mappings(self.image) if self.name in PLAUSIBLE else self.had
        has = mappings(self.after)
        lost = defaultdict(list)
        for loss in announced:
            lost[loss["device"]].append((loss["offset"] // BLOCK, (loss["offset"] + loss["length"] - 1) // BLOCK))

        def is_lost(device, vblock):
            return any(first <= vblock <= last for first, last in lost.get(device, ()))

        for key in has:
            if key[0] in lost:
                self.must(not is_lost(*key), "%s was announced as lost, but is mapped" % (key,))
        for key in {key for key, _ in had.items() ^ has.items()}:
            if is_lost(*key):
                continue
            if self.name in PLAUSIBLE and had.get(key, 0) >= self.pool.data_blocks:
                self.fail("%s was lost without a word" % (key,))
            self.fail("%s: was %s, is %s" % (key, had.get(key), has.get(key)))
        volumes = {device.id for device in self.pool.devices[:VOLUMES]}
        for loss in announced:
            self.must(loss["device"] not in volumes or loss["volume"] == "vm%d" % loss["device"],
                      "a loss without a name: %s" % loss)


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("thinbd")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("THINBD_SEED") or random.randrange(1 << 32)))
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("THINBD_ROUNDS") or 1))
    parser.add_argument("--every", type=int, default=1, help="of so many kinds one, which the seed says")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    print("THINBD_SEED=%d" % options.seed)
    outcomes, failures = Counter(), 0
    pool = build.PRESETS["rich"]()
    assert pool.data_block_size * 512 == BLOCK
    image = build.build(pool)
    good = pool, image, mappings(image)
    for seed in range(options.seed, options.seed + options.rounds):
        for name in options.kinds or list(damage.KINDS)[seed % options.every::options.every]:
            with tempfile.TemporaryDirectory(dir=somewhere()) as directory:
                try:
                    outcome = Trial(options, good, name, seed, directory).run()
                    if (outcome == "refused") != (name in REFUSED):
                        raise AssertionError("%s: %s" % (name, outcome))
                    if outcome == "nothing to do" and name not in NOTES and damage.KINDS[name].expected:
                        outcome = "a note"
                except AssertionError as error:
                    print("seed %d: %s" % (seed, error))
                    failures, outcome = failures + 1, "FAILED"
            outcomes[outcome] += 1
            if options.verbose:
                print("%-30s %s" % (name, outcome))
    print("%d kinds, %s" % (sum(outcomes.values()), ", ".join("%d %s" % (n, what) for what, n in outcomes.most_common())))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
