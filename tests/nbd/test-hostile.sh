#!/usr/bin/env bash
# test-hostile.sh: clients that break the protocol, or off, stop nobody else.
. "$(dirname "$0")/functions.sh"

make_pool
t create vm1 --size 4M
start_server "$pool" 2>/dev/null

proves "garbage, half a handshake, and silence"
/usr/bin/python3 - "$socket" <<'END'
import os, socket, struct, sys
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    return s
silent = [connect() for _ in range(10)]
for text in (b"", b"\0" * 4, b"GET / HTTP/1.0\r\n\r\n", os.urandom(1000),
             struct.pack(">IQII", 3, 0x49484156454F5054, 7, 0xffffffff),
             struct.pack(">IQII", 3, 0x49484156454F5054, 7, 4) + b"abcd",
             struct.pack(">IQII", 3, 0x49484156454F5054, 1, 5000) + b"x" * 5000,
             struct.pack(">IQII", 3, 0x49484156454F5054, 99, 0) * 50):
    s = connect()
    try:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    except OSError:
        pass
END
server_is_well

proves "commands that are none"
/usr/bin/python3 - "$socket" <<'END'
import socket, struct, sys
def transmission():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    f = s.makefile("rwb")
    assert f.read(18)[:8] == b"NBDMAGIC"
    f.write(struct.pack(">I", 3))
    name = b"vm1"
    f.write(struct.pack(">QII", 0x49484156454F5054, 1, len(name)) + name)
    f.flush()
    f.read(10)
    return s, f
for request in (struct.pack(">IHHQQI", 0x25609513, 0, 99, 1, 0, 10),
                struct.pack(">IHHQQI", 0x25609513, 0xffff, 0, 1, 0, 10),
                struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 2**64 - 1, 10),
                struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 2**32 - 1),
                struct.pack(">IHHQQI", 0x25609513, 0, 4, 1, 2**63, 2**32 - 1),
                struct.pack(">IHHQQI", 0x25609513, 0, 6, 1, 1, 2**32 - 1),
                struct.pack(">IHHQQI", 0xdeadbeef, 0, 0, 1, 0, 10),
                # gone in the middle of what it wanted to write
                struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 65536) + b"x" * 1000):
    s, f = transmission()
    f.write(request)
    f.flush()
    s.settimeout(0.3)
    try:
        s.recv(100)
    except OSError:
        pass
    s.close()
END
server_is_well
nbd_python vm1 <<'END'
# whole or not at all, in sectors
got = h.pread(65536, 0)
assert got in (bytes(65536), b"x" * 65536) or all(
    got[i:i+512] in (bytes(512), b"x" * 512) for i in range(0, 65536, 512))
h.pwrite(b"fine", 0)
h.flush()
END

proves "the control socket: too much, too slow, too many"
/usr/bin/python3 - "$pool/control" <<'END'
import json, os, socket, sys, time
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(10)
    return s
def greeting(s):
    return json.loads(s.makefile().readline())
assert greeting(connect())["thinbd"] == 1
for text in (b"\0\n", b"x" * (2 << 20), b"[" * 100000 + b"\n", os.urandom(5000) + b"\n",
             b'{"id": 1, "request": {"verb": "nothing"}}\n' * 3, b"{}\n"):
    s = connect()
    greeting(s)
    try:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    except OSError:
        pass
start = time.monotonic()
crowd = []
for _ in range(80):
    try:
        s = connect()
        crowd.append((s, greeting(s)))
    except (OSError, ValueError):
        pass
assert any("error" in g for _, g in crowd), "let in more than 64"
assert time.monotonic() - start < 3
END
sleep 0.2
expect volumes 1 "$(json .volumes status)"
server_is_well
stop_server
pool_is_well
