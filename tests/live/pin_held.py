#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A check and a dump while somebody else looks at a commit.

One commit at a time can be kept for whoever looks at it.  A backup of the metadata has
it here, and is made to wait in the middle; a check and a dump, which would keep one,
look at the last commit all the same, with commits held off meanwhile
(lib/service/still.c).  Clients go on before, between and after; the backup is of the
commit that it kept.
"""

import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from edges import start_failing
from ground import BUILD, Pool, need, run, seed_from_environment, should, skip, story


def until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        should(time.monotonic() < deadline, "in two minutes:", what)
        time.sleep(0.01)


def devices(dump):
    return {int(d) for d in re.findall(r'dev_id="(\d+)"', dump)}


def write(h, at):
    h.pwrite(b"x" * 65536, at << 20)
    h.flush()


def device_of(pool, name):
    return next(v["device"] for v in pool.json("list") if v["name"] == name)


def look(pool, known):
    """A check, and a dump, of what is there now."""
    should(pool.json("check")["clean"], "the pool is not clean")
    should(devices(pool.t("dump")) == known, "the dump does not have", known)


def held(pool, work):
    waiting = work / "wait"
    start_failing(pool, WAITING_WRITES=waiting, FAILING_FILE=pool.path / "backups/.tmp-image")
    h = pool.connect("v")
    until(lambda: pool.json("status")["metadata_backup"]["last"], "no first backup")
    first = set((pool.path / "backups").iterdir())
    waiting.touch()
    write(h, 1)
    until(lambda: waiting.stat().st_size, "no backup is made")
    # Now it has its commit.  What comes after is in a later one.
    known = {device_of(pool, "v")}
    for i in range(3):
        pool.t("create", f"later{i}", "--size", "1M")
        write(h, 2 + i)
        known.add(device_of(pool, f"later{i}"))
        look(pool, known)
    should(waiting.exists() and not new_backups(pool, first), "the backup did not wait")
    waiting.unlink()
    until(lambda: new_backups(pool, first), "no backup, now that it may")
    backup = min(new_backups(pool, first))
    write(h, 10)
    look(pool, known)
    h.shutdown()
    pool.stop()
    return backup


def new_backups(pool, before):
    return {p for p in (pool.path / "backups").glob("metadata-*")} - before


def main():
    need("zstd", "thin_check", "thin_dump")
    if not (BUILD / "tests/live/libfailing_file.so").exists():
        skip("with a sanitizer nothing else is loaded first")
    with story(seed_from_environment()) as (work, _):
        pool = Pool(work)
        pool.t("init", "--data-size", "64M", "--set", "keep_metadata_backups=9",
               "--set", "metadata_backup_interval=1")
        pool.t("create", "v", "--size", "16M")
        try:
            backup = held(pool, work)
        finally:
            pool.kill()
        image = work / "image"
        subprocess.run(["zstd", "-qdf", backup, "-o", image], check=True)
        run("thin_check", "-q", image)
        should(devices(run("thin_dump", image)) == {device_of(pool, "v")},
               "the backup is of another commit than the one it kept")
        pool.check()


if __name__ == "__main__":
    main()
