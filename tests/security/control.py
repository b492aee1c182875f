#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The control socket: who may ask, and what happens to messages that are none (P15).

Both ways: a server that meets strange clients, and a command line that meets a
strange server.  Root's part (another user asks) is left out for others.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import CLI, Pool, need, seed_from_environment, should, story
from names import Control

NOBODY = 65534
LIMIT = 1 << 20     # of a message: THIN_MAX_MESSAGE
PEERS = 64          # at a time: THIN_MAX_CONTROL_PEERS
PATIENCE = 5        # seconds for a line: THIN_CONTROL_TIMEOUT_MS

STATUS = {"id": 1, "request": {"verb": "status", "args": {}}}


def line(document):
    return json.dumps(document).encode() + b"\n"


def admitted(pool):
    """A connection, once those that have hung up are through."""
    deadline = time.monotonic() + 10
    while True:
        control = Control(pool)
        if "EBUSY" not in json.dumps(control.greeting):
            return control
        control.close()
        should(time.monotonic() < deadline, "there is no room again")
        time.sleep(0.01)


def is_well(pool):
    should(pool.alive(), "the server died:", pool.said()[-2000:])
    control = admitted(pool)
    should(control.greeting == {"thinbd": 1, "version": control.greeting.get("version")},
           "greeting", control.greeting)
    answer = control.ask("status", {})
    should("result" in answer["reply"], answer)
    control.close()


def closed(control):
    """What it still says, and then it hangs up."""
    said = []
    with contextlib.suppress(ConnectionResetError):
        while (more := control.line()) is not None:
            said.append(more)
    control.close()
    return said


# --- who may ask ---------------------------------------------------------------------

def another_user(pool):
    mode = os.stat(pool.path / "control").st_mode & 0o777
    should(mode == 0o600, "the socket's mode is", oct(mode))
    if os.getuid() or not shutil.which("setpriv"):
        print("  not root: left out")
        return
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    program = ("import socket\n"
               "s = socket.socket(socket.AF_UNIX)\n"
               "s.connect('control')\n"
               "print(s.makefile().read())\n")

    def run(*command):
        """In the pool's folder: what is above it may be closed to others."""
        return subprocess.run([*as_nobody, *command], cwd=pool.path, check=False, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask():
        return run("/usr/bin/python3", "-c", program)
    # The folder keeps others out; then the socket does; then the server itself.
    should("PermissionError" in ask().stdout, "through the folder:", ask().stdout)
    os.chmod(pool.path, 0o755)
    should("PermissionError" in ask().stdout, "through the socket's mode")
    os.chmod(pool.path / "control", 0o666)
    said = ask().stdout
    should(json.loads(said)["error"]["code"] == "EACCES", "it said:", said)
    done = run(str(CLI), "--pool", ".", "delete", "v")
    should(done.returncode in (1, 126), "deleted by nobody:", done.stdout)
    os.chmod(pool.path / "control", 0o600)
    os.chmod(pool.path, 0o700)
    should(pool.names() == ["v"], "deleted by nobody")


# --- messages ------------------------------------------------------------------------

def lengths(pool):
    frame = line({"id": 1, "request": {"verb": "set", "args": {
        "name": "v", "settings": ["description="]}}})
    for size in (LIMIT - 2, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT):
        control = Control(pool)
        text = frame.replace(b"=", b"=" + b"x" * (size - len(frame)))
        should(len(text) == size, "the test's length")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            control.s.sendall(text)
        said = closed_or_answered(control)
        should(not any("result" in s.get("reply", {}) for s in said), size, "was taken")
    should(pool.json("list")[0]["description"] == "", "a description that is too long")
    # Without an end.
    control = Control(pool)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(64):
            control.s.sendall(b"x" * 65536)
    closed(control)


def closed_or_answered(control):
    said = []
    with contextlib.suppress(ConnectionResetError):
        while (more := control.line()) is not None:
            said.append(more)
            if "reply" in more or "error" in more:
                break
    control.close()
    return said


def in_pieces(pool):
    """A byte at a time is fine; half of it, and then nothing, is not answered."""
    control = Control(pool)
    for byte in line(STATUS):
        control.s.sendall(bytes([byte]))
    should("result" in control.line()["reply"], "a byte at a time")
    # Two at once.
    control.s.sendall(line(STATUS) + line({**STATUS, "id": 2}))
    should([control.line()["id"], control.line()["id"]] == [1, 2], "two at once")
    control.close()
    whole = line({"id": 1, "request": {"verb": "delete", "args": {"names": ["v"]}}})
    for cut in range(0, len(whole) - 1, 3):
        control = Control(pool)
        control.s.sendall(whole[:cut])
        if cut % 2:
            control.s.shutdown(socket.SHUT_WR)
            closed(control)
        else:
            control.close()
    should(pool.names() == ["v"], "half a message was obeyed")


def slow(pool):
    """Who dawdles is not waited for, however he does it."""
    began = time.monotonic()
    silent, trickling = Control(pool), Control(pool)
    with contextlib.suppress(OSError):
        while time.monotonic() - began < PATIENCE + 10:
            trickling.s.sendall(b" ")
            time.sleep(0.3)
    took = time.monotonic() - began
    should(took < PATIENCE + 5, "it waited", took, "seconds")
    for control in (silent, trickling):
        with contextlib.suppress(OSError):
            should(not closed(control), "an answer")


NONSENSE = [
    b"\n", b"{}\n", b"[]\n", b"null\n", b"1\n", b'"x"\n', b"{\n", b"}\n", b"{}{}\n",
    b"\0\n", b'{"id": 1, "request": {"verb": "status\0", "args": {}}}\n', b"\xff\n",
    b'{"id": "1", "request": {"verb": "status", "args": {}}}\n',
    b'{"id": 1.5, "request": {"verb": "status", "args": {}}}\n',
    b'{"id": 1e99, "request": {"verb": "status", "args": {}}}\n',
    b'{"request": {"verb": "status", "args": {}}}\n', b'{"id": 1}\n',
    b'{"id": 1, "request": null}\n', b'{"id": 1, "request": []}\n',
    b'{"id": 1, "request": {"verb": "status", "args": {}}, "more": 1}\n',
    b'{"id": 1, "request": {"verb": "status", "args": {}, "more": 1}}\n',
    b'{"id": 1, "request": {"args": {}}}\n', b'{"id": 1, "request": {"verb": 1}}\n',
    b'{"id": 1, "request": {"verb": "status", "args": {"colour": "red"}}}\n',
    b'{"id": 1, "request": {"verb": "status", "args": []}}\n',
    b'{"id": 1, "request": {"verb": "nothing", "args": {}}}\n',
    b'{"id": 1, "request": {"verb": "serve", "args": {"options": ["--help"]}}}\n',
    b'{"id": 1, "request": {"verb": "delete", "args": {"names": "v"}}}\n',
    b'{"id": 1, "request": {"verb": "delete", "args": {"names": [["v"]]}}}\n',
    b'{"id": 1, "request": {"verb": "delete", "args": {"names": [null]}}}\n',
    b'{"id": 1, "request": {"verb": "delete", "args": {"names": []}}}\n',
    b'{"id": 1, "request": {"verb": "delete", "args": {"names": ["v"], "force": "no"}}}\n',
    b'{"id": 1, "request": {"verb": "snapshot", "args": {"pairs": ["v"]}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": -1}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": 0}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": 1e30}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": "9E"}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x"}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": "1M",'
    b' "origin": "control"}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": "1M",'
    b' "origin": "/dev/zero"}}}\n',
    b'{"id": 1, "request": {"verb": "create", "args": {"name": "x", "size": "1M",'
    b' "description": "two\\nlines"}}}\n',
    b'{"id": 1, "request": {"verb": "message", "args": {"text": "delete 0 0 0"}}}\n',
    b'{"id": 1, "request": {"verb": "message", "args": {"text": ""}}}\n',
    b"[" * 100_000 + b"\n", b'{"a":' * 50_000 + b"\n",
]


def nonsense(pool, rnd):
    """Refused, each of it; whether politely or by hanging up."""
    before = pool.json("list")
    for text in NONSENSE:
        control = Control(pool)
        control.s.sendall(text)
        said = closed_or_answered(control)
        should(not any("result" in s.get("reply", {}) for s in said), text[:200], said)
    good = [line(STATUS), line({"id": 1, "request": {"verb": "show", "args": {"name": "v"}}}),
            line({"id": 9, "request": {"verb": "list", "args": {"names": ["v"]}}})]
    for _ in range(500):
        control = Control(pool)
        text = bytearray(rnd.choice(good))
        for _ in range(rnd.randint(1, 4)):
            i = rnd.randrange(len(text))
            if rnd.random() < 0.5:
                text[i] = rnd.randrange(256)
            else:
                del text[i:i + rnd.randint(1, 10)]
            text = text or bytearray(b"{")
        control.s.sendall(bytes(text))
        with contextlib.suppress(OSError):
            control.s.shutdown(socket.SHUT_WR)
        closed(control)
    should(pool.json("list") == before, "something has changed")


def crowd(pool):
    """So many at a time; the others are told, and wait no longer than the slow ones."""
    crowd_ = [Control(pool) for _ in range(PEERS)]
    late = Control(pool)
    should(late.greeting["error"]["code"] == "EBUSY", "the one too many hears", late.greeting)
    late.close()
    with subprocess.Popen([CLI, "--pool", pool.path, "list"], stdout=subprocess.PIPE, text=True) as patient:
        time.sleep(0.5)
        should(patient.poll() is None, "the command line does not wait for room")
        for control in crowd_[1:]:
            control.close()
        should("NAME" in patient.communicate(timeout=20)[0] and patient.returncode == 0, "it waited in vain")
    admitted(pool).close()
    crowd_[0].close()
    fds = f"/proc/{pool.server.pid}/fd"
    began = time.monotonic()
    for i in range(1000):
        s = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(pool.path)
        s.connect("control")
        os.chdir(here)
        if i % 3 == 0:
            with contextlib.suppress(OSError):  # those too many are sent away
                s.sendall(b"{")
        s.close()
    print(f"  1000 connections in {time.monotonic() - began:.1f} s")
    deadline = time.monotonic() + 20
    while len(os.listdir(fds)) > 60 + PEERS:
        should(time.monotonic() < deadline, "descriptors stay open")
        time.sleep(0.05)


def end_with_peers(pool):
    """Who is connected does not keep the server from ending."""
    peers = [Control(pool) for _ in range(4)]
    peers[0].s.sendall(b'{"id":')
    began = time.monotonic()
    pool.stop()
    should(time.monotonic() - began < 4, "it took", time.monotonic() - began, "seconds")
    should(not (pool.path / "control").exists(), "the socket is left")
    for control in peers:
        control.close()
    pool.start()


# --- a strange server ------------------------------------------------------------------

SERVERS = {
    "another version": b'{"thinbd": 2, "version": "9.9"}\n',
    "no greeting": b'{"hello": "world"}\n',
    "no JSON": b"220 smtp.example.com ESMTP\n",
    "not a line": b'{"thinbd": 1, "vers',
    "a line that does not end": b"x" * (2 * LIMIT),
    "an answer to another question":
        b'{"thinbd": 1, "version": "0.1.0"}\n{"id": 77, "reply": {"result": []}}\n',
    "a reply that is none":
        b'{"thinbd": 1, "version": "0.1.0"}\n{"id": 1, "reply": 5}\n',
    "a refusal that is none": b'{"error": {"code": null, "message": 7}}\n',
    "nothing at all": b"",
}


def pretend(pool, text, hang):
    """Be the pool's server: hold its lock, and say that to one client."""
    lock = open(pool.path / "lock", "r+b")  # pylint: disable=consider-using-with
    flock = b"\1\0\0\0" + bytes(28)  # F_WRLCK, all of it
    fcntl.fcntl(lock, 37, flock)  # F_OFD_SETLK
    s = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(pool.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("control")
    s.bind("control")
    os.chdir(here)
    s.listen(8)
    s.settimeout(30)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                c, _ = s.accept()
                c.settimeout(20)
                with contextlib.suppress(OSError):
                    c.sendall(text)
                    while hang and c.recv(4096):
                        pass
                c.close()
    threading.Thread(target=serve, daemon=True).start()
    return s, lock


def strange_servers(pool):
    for what, text in SERVERS.items():
        s, lock = pretend(pool, text, hang=what not in ("not a line",))
        began = time.monotonic()
        done = subprocess.run([str(CLI), "--pool", str(pool.path), "list"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=120)
        took = time.monotonic() - began
        s.shutdown(socket.SHUT_RDWR)
        s.close()
        lock.close()
        os.unlink(pool.path / "control")
        should(done.returncode == 1, what, ": status", done.returncode, done.stderr)
        should(not done.stdout, what, ": on stdout:", done.stdout)
        should(done.stderr.startswith("thinbd: ") and done.stderr.count("\n") == 1, what,
               ": said", done.stderr)
        should(took < 20, what, "took", took, "seconds")


def main():
    need()
    seed = seed_from_environment()
    with story(seed) as (work, rnd):
        pool = Pool(work)
        pool.t("init", "--data-size", "64M")
        pool.t("create", "v", "--size", "1M")
        pool.start()
        try:
            for test, *args in ((another_user,), (lengths,), (in_pieces,),
                                (nonsense, rnd), (crowd,), (slow,), (end_with_peers,)):
                print("--", test.__name__, flush=True)
                test(pool, *args)
                is_well(pool)
            pool.stop()
            print("-- strange_servers", flush=True)
            strange_servers(pool)
            should(pool.names() == ["v"], "the list has changed")
            pool.check()
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
