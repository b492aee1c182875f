#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The metadata can not be written: what clients, verbs and the next server find (P6).

A write that fails leaves the last commit in force, and the pool READ_ONLY (C4 of
lib/pool/commit.c): the flush that needed it fails, and so does all that would change
the metadata; what was flushed before is read as before, snapshots too.

  marked    all fails but the superblock: it says that a check is needed, to whoever
            opens the pool next, until `thinbd check --repair`
  unmarked  nothing can be written, the mark neither: nothing is written any more
"""

import errno
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from edges import CHANGES, LOOKS, call, end_failed, known, start_failing
from ground import BUILD, Failed, Pool, need, seed_from_environment, should, skip, story

FILLED = 300_000


def refused(codes, f, *args):
    import nbd  # pylint: disable=import-outside-toplevel
    try:
        f(*args)
    except nbd.Error as e:
        should(e.errnum in codes, f.__name__, args[1:], "gave", e)
        return
    raise Failed(f"{f.__name__} succeeded without metadata")


def break_it(pool, work, first):
    """Writes of the metadata fail from byte `first` on; returns when one has."""
    trigger = work / "fail-now"
    start_failing(pool, FAILING_WRITES=trigger, FAILING_FILE=pool.path / "metadata")
    h = pool.connect("v")
    trigger.write_text(str(first))
    h.pwrite(b"lost" * 1000, 1 << 20)  # into a block that is not mapped yet
    refused((errno.EIO,), h.flush)
    trigger.unlink()  # the next one would be good: it must not be tried
    return h


def look_around(pool, before, h, mode):
    """What is there is as it was, and nothing can be changed."""
    status = pool.json("status")
    should(status["mode"] == mode, "the mode is", status["mode"], "not", mode)
    for words in CHANGES:
        done = call(pool, *words)
        should(done.returncode == 1 and "nothing can be changed" in done.stderr, words,
               "said", done)
    for words in LOOKS:
        call(pool, *words)
        should(pool.alive(), words, "killed the server")
    if mode == "ro":
        should(h.pread(FILLED, 1000) == before[1]["v"][1000:1000 + FILLED], "v has other bytes")
        should(pool.read_all("s@1") == before[1]["s@1"], "the snapshot has other bytes")
        should(h.pread(4000, 1 << 20) == bytes(4000), "what was never committed shows")
    for f in (lambda: h.pwrite(b"more", 2 << 20), lambda: h.zero(65536, 3 << 20)):
        refused((errno.EIO, errno.EROFS, errno.EPERM, errno.ESHUTDOWN), f)
    refused((errno.EIO, errno.EROFS, errno.EPERM, errno.ESHUTDOWN), h.pwrite, b"x", 1000, 1)


def marked(pool, work, before):
    h = break_it(pool, work, 4096)
    look_around(pool, before, h, "ro")
    should(pool.json("status")["needs_check"], "nothing says that a check is needed")
    should("thinbd check --repair" in pool.t("status"), "nor what to do")
    h.shutdown()
    end_failed(pool)
    # The next server: the same, from the start.
    pool.start()
    should("opened read-only: the metadata needs a check" in pool.said(), "the log:", pool.said())
    h = pool.connect("v")
    should(h.is_read_only(), "a client may write without metadata")
    h.shutdown()
    should(known(pool) == before, "the next server shows something else")
    done = call(pool, "create", "new", "--size", "1M")
    should(done.returncode == 1 and "check --repair" in done.stderr, done)
    pool.stop()
    pool.t("check", ok=(1,))
    pool.t("check", "--repair")


def unmarked(pool, work, before):
    h = break_it(pool, work, 0)
    look_around(pool, before, h, "fail")
    h.shutdown()
    end_failed(pool)


def main():
    need()
    if not (BUILD / "tests/live/libfailing_file.so").exists():
        skip("with a sanitizer nothing else is loaded first")
    with story(seed_from_environment()) as (work, rnd):
        pool = Pool(work)
        (work / "base").write_bytes(rnd.randbytes(1 << 20))
        pool.t("init", "--data-size", "64M", "--set", "io=sync")
        pool.t("create", "v", "--size", "4M")
        pool.t("create", "over", "--origin", work / "base")
        try:
            pool.start()
            h = pool.connect("v")
            h.pwrite(rnd.randbytes(FILLED), 1000)
            h.flush()
            h.shutdown()
            pool.t("snapshot", "v", "s@1")
            before = known(pool)
            pool.stop()
            for test in (marked, unmarked):
                print("--", test.__name__, flush=True)
                test(pool, work, before)
                pool.start()
                should(known(pool) == before, "after a restart it shows something else")
                h = pool.connect("v")
                h.pwrite(b"new", 2 << 20)
                h.flush()
                h.trim(65536, 2 << 20)
                h.flush()
                h.shutdown()
                pool.stop()
                pool.check()
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
