# SPDX-License-Identifier: BSD-3-Clause
"""What the tests in Python that start and kill servers stand on.

Environment: THINBD_BUILD_DIR; THINBD_SEED (always printed, with the line that
repeats the test); TMPDIR; THINBD_KEEP=1 keeps the test's folder, as a failure
does.  Exit status: 0, 77 (skipped), else failed.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
BUILD = pathlib.Path(os.environ.get("THINBD_BUILD_DIR", TESTS.parent / "build"))
CLI = BUILD / "cli" / "thinbd"
PLUGIN = BUILD / "plugin" / "nbdkit-thin-plugin.so"
ORACLE = TESTS / "oracle" / "audit.py"


class Failed(Exception):
    """The test has found something."""


def should(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def need(*programs):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for p in (CLI, PLUGIN):
        if not p.exists():
            skip(f"{p} is not built")
    for p in ("nbdkit", *programs):
        if not shutil.which(p):
            skip(f"{p} is not installed")
    try:
        import nbd  # pylint: disable=import-outside-toplevel,unused-import
    except ImportError:
        skip("python3-libnbd is not installed")


def run(*command, ok=(0,), **kwargs):
    """A program's output; its status must be one of `ok`."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    should(done.returncode in ok, *command, f": exit {done.returncode}:", done.stdout)
    return done.stdout


class Pool:
    """A pool's folder, and what serves it."""

    def __init__(self, work, name="pool"):
        self.path = work / name
        self.socket = work / f"{name}.sock"
        self.log = work / f"{name}.log"
        self.pid = work / f"{name}.pid"  # which is there when the server listens
        self.server = None

    def t(self, *args, ok=(0,)):
        return run(CLI, "--pool", self.path, *args, ok=ok)

    def json(self, *args):
        return json.loads(self.t("--json", *args))

    def names(self):
        return sorted(v["name"] for v in self.json("list"))

    def start(self, *options, listen=None, arguments=()):
        """Returns when the server listens, or raises Failed with what it said."""
        self.socket.unlink(missing_ok=True)
        self.pid.unlink(missing_ok=True)
        log = open(self.log, "ab")  # pylint: disable=consider-using-with
        began = log.tell()
        self.server = subprocess.Popen(  # pylint: disable=consider-using-with
            ["nbdkit", "-f", "-P", str(self.pid), *(listen or ("-U", str(self.socket))), *map(str, options),
             str(PLUGIN), str(self.path), *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 60
        while not self.pid.exists():
            if self.server.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Failed(f"no server: {self.said(began)}")
            time.sleep(0.002)

    def said(self, since=0):
        with open(self.log, "rb") as f:
            f.seek(since)
            return f.read().decode(errors="replace")

    def alive(self):
        return self.server is not None and self.server.poll() is None

    def stop(self):
        """A clean end."""
        if self.server:
            server, self.server = self.server, None
            server.send_signal(signal.SIGTERM)
            try:
                status = server.wait(timeout=60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                raise Failed("the server does not end") from None
            should(status == 0, "the server ended with", status, self.said()[-2000:])

    def kill(self):
        """As a power cut is to it."""
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.socket}"

    def connect(self, name):
        import nbd  # pylint: disable=import-outside-toplevel
        deadline = time.monotonic() + 20
        while True:
            h = nbd.NBD()
            h.add_meta_context("base:allocation")
            h.set_export_name(name)
            # What the server says is what we are after, not the library.
            h.set_strict_mode(0)
            try:
                h.connect_unix(str(self.socket))
                return h
            except nbd.Error as e:
                # The socket is there a moment before it listens.
                if e.errno != "ECONNREFUSED" or time.monotonic() > deadline or \
                        not self.alive():
                    raise
            time.sleep(0.002)

    def read_all(self, name):
        h = self.connect(name)
        size = h.get_size()
        data = b"".join(h.pread(min(size - at, 1 << 22), at)
                        for at in range(0, size, 1 << 22))
        h.shutdown()
        return data

    def check(self, oracle=True, unnamed=frozenset()):
        """All auditors, while nobody serves it.  `unnamed`: devices made by messages."""
        self.t("check")
        metadata = self.path / "metadata"
        if shutil.which("thin_check"):
            run("thin_check", "-q", metadata)
            devices = {int(d.split('"')[1]) for d in
                       run("thin_dump", metadata).split("<device dev_id=")[1:]}
            named = {v["device"] for v in self.json("list") if v["name"][0] != "#"}
            should(devices == named | unnamed, "devices", devices, "volumes", named)
        # The oracle knows the kernel's block sizes only.
        if oracle and ORACLE.exists() and self.json("status")["block_size"] % 65536 == 0:
            run(sys.executable, ORACLE, metadata)


def seed_from_environment():
    return int(os.environ.get("THINBD_SEED", time.time_ns()))


def replay_line(seed, *arguments):
    return " ".join(map(str, (f"THINBD_SEED={seed}", sys.argv[0], *arguments)))


@contextlib.contextmanager
def story(seed, *arguments, tmp=None):
    """A folder for the test and a source of randomness; says how to repeat it.

    Any exception in it ends the process as failed.
    """
    line = replay_line(seed, *arguments)
    print(line, flush=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="thinbd-test.", dir=tmp))
    try:
        yield work, random.Random(seed)
    except Exception as e:  # pylint: disable=broad-except
        if isinstance(e, Failed):
            print(f"FAIL: {e}", file=sys.stderr)
        else:
            traceback.print_exc()
        print(f"replay: {line}\nkept: {work}", file=sys.stderr)
        sys.exit(1)
    if os.environ.get("THINBD_KEEP"):
        print(f"kept: {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)


def in_memory():
    """A folder in memory, where flushes cost nothing; None where there is none."""
    if "TMPDIR" in os.environ:
        return None
    with contextlib.suppress(OSError):
        st = os.statvfs("/dev/shm")
        if st.f_bavail * st.f_frsize >= 2 << 30 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return None
