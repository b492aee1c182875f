#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Names that try to be something else (P14, P15).

An export name is any bytes that a client sends; it must be looked up, never used
as a path, and never make a line of the log look like another's.  The verbs refuse
malformed names over the socket as they do on the command line, and nothing has
changed then.
"""

import hashlib
import json
import os
import pathlib
import re
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
from ground import Pool, need, seed_from_environment, should, story
from hostile import OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST_META, Raw

EVIL = [
    b"../metadata", b"../volumes/v", b"./v", b"v/", b"/", b"..", b".", b"v/../v", b"v.conf",
    b"volumes/v.conf", b"/etc/passwd", b"\0", b"v\0", b"v\0/etc/passwd", b"\nv", b"v\n",
    b"v\nnbdkit: error: all is lost", b"v\r\n", b"\x1b[2Jv", b"v\x7f", b"V", b" v", b"v ",
    b"@", b"v@", b"@s", b"v@s@s", b"v@@s", b"v@.", b"-v", b".v", b"_v", b"%s%s%s%n", b"%00",
    b"$(reboot)", b"`reboot`", b";reboot", b"'", b'"', b"\\", b"*", b"?", b"~", b"#0", b"0",
    b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"v\xc3", "v\u202e".encode(), "ﬁ".encode(),
    b"a" * 64, b"a" * 127, b"a" * 128, b"a" * 255, b"a" * 256, b"a" * 4095, b"a" * 4096,
    b"a" * 63 + b"@" + b"a" * 64, b"../" * 1365, b"thin:v", b"nbd://localhost",
]


PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
GOOD = re.compile(f"{PART}(@{PART})?")  # ... though it looks strange


def fingerprint(folder):
    """All files there, and what is in them."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = pathlib.Path(root) / name
            if path.is_file() and path.name not in ("pool.log", "data", "metadata"):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = ""
    return found


def refusal(pool, option, name):
    """What the server answers to such a name: an error's number, or that it left."""
    with Raw(pool) as c:
        c.greet()
        data = struct.pack(">I", len(name)) + name
        if option == OPT_EXPORT_NAME:
            data = name
        elif option == OPT_LIST_META:
            data += struct.pack(">I", 0)
        else:
            data += struct.pack(">H", 0)
        c.option(option, data)
        try:
            if option == OPT_EXPORT_NAME:
                return c.get(10) and "opened"
            while True:
                kind, text = c.reply()
                should(kind != 1 or option == OPT_LIST_META, "opened as", name)
                if kind == 1 or kind >> 31:
                    should(b"/" not in text.replace(name, b""), "a path in", text)
                    return kind
        except ConnectionResetError:
            return "left"


def export_names(pool, rnd):
    unknown = {o: refusal(pool, o, b"nobody") for o in (OPT_GO, OPT_INFO, OPT_EXPORT_NAME)}
    noise = [bytes(rnd.randrange(256) for _ in range(rnd.randrange(1, 60)))
             for _ in range(200)]
    for name in EVIL + noise:
        if name in (b"v", b"v@s"):
            continue
        for option, answer in unknown.items():
            got = refusal(pool, option, name)
            # Not allowed, malformed and unknown are one answer; what nbdkit itself
            # refuses (too long, not UTF-8, NUL) it may refuse in its own way.
            should(got in (answer, "left", 0x80000003), name, "gave", got, "not", answer)
        refusal(pool, OPT_LIST_META, name)
    should(pool.alive(), "the server died:", pool.said()[-2000:])
    should(bytes(pool.connect("v").pread(1, 0)) == b"\0", "v is not to be had")
    print(f"  {len(EVIL) + len(noise)} export names")


def look_at_log(pool):
    """One line each, and no control characters."""
    said = pool.said()
    for line in said.splitlines():
        should(line.startswith("nbdkit: thin"), "a line of the log:", repr(line))
    should(not any(ord(c) < 32 and c != "\n" for c in said), "control characters in the log")


# --- verbs -------------------------------------------------------------------------

class Control:
    """A connection to DIR/control, by hand."""

    def __init__(self, pool):
        self.s = socket.socket(socket.AF_UNIX)
        # The path may be too long for a socket's name, and threads have one folder.
        folder = os.open(pool.path, os.O_PATH)
        try:
            self.s.connect(f"/proc/self/fd/{folder}/control")
        finally:
            os.close(folder)
        # Only now: with a time-out, connecting to a queue that is full fails at once.
        self.s.settimeout(30)
        self.f = self.s.makefile("rb")
        self.greeting = self.line()

    def line(self):
        text = self.f.readline()
        return json.loads(text) if text else None

    def ask(self, verb, args, ident=1):
        self.s.sendall(json.dumps({"id": ident, "request": {"verb": verb, "args": args}})
                       .encode() + b"\n")
        while True:
            answer = self.line()
            if answer is None or "reply" in answer or "error" in answer:
                return answer

    def close(self):
        self.f.close()
        self.s.close()


def with_name(name):
    """Verbs, with the malformed name in each place that there is for one."""
    yield "create", {"name": name, "size": "1M"}
    yield "create", {"name": name, "origin": "thin:v@s"}
    yield "create", {"name": "new", "size": "1M", "origin": "thin:" + name}
    yield "snapshot", {"pairs": ["v", name]}
    yield "snapshot", {"pairs": [name, "new"]}
    yield "snapshot", {"pairs": ["v", "new", "v", name]}
    yield "delete", {"names": [name]}
    yield "delete", {"names": ["v", name]}
    yield "rename", {"old": name, "new": "new"}
    yield "rename", {"old": "v", "new": name}
    yield "set", {"name": name, "settings": ["readonly=true"]}
    yield "resize", {"name": name, "size": "3M"}
    yield "rollback", {"name": name, "snapshot": "v@s"}
    yield "rollback", {"name": "v", "snapshot": name}
    yield "flatten", {"name": name}
    yield "show", {"name": name}
    yield "map", {"name": name}
    yield "diff", {"old": name, "new": "v"}
    yield "list", {"names": [name]}


def verb_names(pool):
    before = fingerprint(pool.path)
    control = Control(pool)
    count = 0
    for name in EVIL:
        text = name.decode(errors="surrogateescape")
        for verb, args in with_name(text):
            if GOOD.fullmatch(text):
                continue
            answer = control.ask(verb, args)
            count += 1
            if answer is None or "error" in answer:
                # Not UTF-8: not even a request.
                should(not name.isascii() or b"\0" in name, verb, name, "no reply")
                control.close()
                control = Control(pool)
                continue
            error = answer["reply"].get("error")
            should(error, verb, name, "was done:", answer)
            should(error["code"] in ("EINVAL", "ENOENT", "ENAMETOOLONG"), verb, name, error)
            should(all(ord(c) >= 32 for c in error["message"]), "control characters:", error)
    control.close()
    should(fingerprint(pool.path) == before, "something has changed")
    print(f"  {count} verbs")


def main():
    need()
    seed = seed_from_environment()
    with story(seed) as (work, rnd):
        pool = Pool(work)
        pool.t("init", "--data-size", "64M")
        pool.t("create", "v", "--size", "1M")
        pool.t("snapshot", "v", "v@s")
        before = fingerprint(pool.path)
        pool.start()
        try:
            print("-- export names")
            export_names(pool, rnd)
            look_at_log(pool)
            print("-- names in verbs")
            verb_names(pool)
            pool.stop()
            should(fingerprint(pool.path) == before, "something has changed")
            pool.check()
        finally:
            pool.kill()


if __name__ == "__main__":
    main()
