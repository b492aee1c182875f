#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The whole job on a real image.

An ext4 image made of real files, not a multiple of a block long, is the
origin of twenty volumes.  Files are written to and removed from each, on a
plain copy by debugfs; what that changed goes to the volume through NBD, by
QEMU's client and by libnbd's at once, while snapshots are made and volumes
deleted.  In the end every volume and snapshot is compared with its plain
copy, its file system is checked, its files' checksums too; the origin is as
it was; both checkers are content; and the pool uses as many blocks as a model
says.

Environment: THINBD_BUILD_DIR, THINBD_SEED (printed), THINBD_KEEP=1 keeps the
folder, THINBD_IMAGE_MIB is the image's size (128).  Exit 77: something needed is not installed.
"""

import concurrent.futures
import contextlib
import hashlib
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

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("THINBD_BUILD_DIR", HERE.parents[1] / "build"))
CLI = BUILD / "cli" / "thinbd"
PLUGIN = BUILD / "plugin" / "nbdkit-thin-plugin.so"
SBIN = ("/usr/sbin", "/sbin")

BLOCK = 65536
PAGE = 4096
VOLUMES = 20
IMAGE_MIB = int(os.environ.get("THINBD_IMAGE_MIB") or 128)
ODD_TAIL = 12345  # the image is not a multiple of anything


def need(*programs):
    os.environ["PATH"] = ":".join([os.environ["PATH"], *SBIN])
    for p in programs:
        if not shutil.which(p):
            print(f"SKIP: {p} is not installed")
            sys.exit(77)
    try:
        import nbd  # pylint: disable=import-outside-toplevel,unused-import
    except ImportError:
        print("SKIP: python3-libnbd is not installed")
        sys.exit(77)


def run(*command, ok=(0,), **kwargs):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# --- images ---------------------------------------------------------------------

def collect_files(folder, rnd, budget):
    """Real files up to a budget, copied into a folder for mke2fs -d."""
    taken = 0
    found = []
    for root, dirs, files in os.walk("/usr/share"):
        dirs.sort()
        for name in sorted(files):
            path = os.path.join(root, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            found.append(path)
    rnd.shuffle(found)
    for path in found:
        size = os.path.getsize(path)
        if taken + size > budget:
            continue
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        taken += size
    return taken


def make_base(work, rnd):
    tree = work / "tree"
    tree.mkdir()
    taken = collect_files(tree, rnd, IMAGE_MIB * 4 // 10 << 20)
    base = work / "base.img"
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, base, f"{IMAGE_MIB}M")
    with open(base, "ab") as f:
        f.write(b"\x5a" * ODD_TAIL)
    print(f"base: {taken >> 20} MiB of real files in {base.stat().st_size} bytes")
    return base


def debugfs(image, commands):
    said = run("debugfs", "-w", "-f", "-", image, input="\n".join(commands) + "\n")
    if "Could not" in said:
        raise SystemExit(f"{image}: is full: {said}")


class Model:
    """A plain copy of the volume, and the files that it should hold."""

    def __init__(self, path, source, files=None):
        self.path = path
        run("cp", "--sparse=always", source, path)
        self.files = dict(files or {})  # name in the image -> sha256

    def change(self, work, rnd):
        """Add and remove some files by debugfs."""
        commands = []
        for name in [n for n in self.files if rnd.random() < 0.3]:
            commands.append(f"rm {name}")
            del self.files[name]
        for _ in range(rnd.randint(1, 4)):
            name = f"file-{rnd.getrandbits(48):012x}"
            source = work / name
            source.write_bytes(rnd.randbytes(rnd.choice([100, 5000, 70000, 700000])))
            commands.append(f"write {source} {name}")
            self.files[name] = sha256(source)
        debugfs(self.path, commands)
        for source in work.glob("file-*"):
            source.unlink()


def changed_extents(before, after):
    """(offset, bytes) of what differs, in pages joined to extents."""
    extents = []
    with open(before, "rb") as a, open(after, "rb") as b:
        offset = 0
        while True:
            x, y = a.read(1 << 20), b.read(1 << 20)
            if not y:
                return extents
            if x != y:
                for i in range(0, len(y), PAGE):
                    page = y[i:i + PAGE]
                    if x[i:i + PAGE] == page:
                        continue
                    if extents and extents[-1][0] + len(extents[-1][1]) == offset + i:
                        extents[-1][1].extend(page)
                    else:
                        extents.append((offset + i, bytearray(page)))
            offset += len(y)


# --- how many blocks should be in use ---------------------------------------------

class Blocks:
    """Data blocks as numbers that were never used before."""

    def __init__(self):
        self.maps = {}
        self.next = 0

    def create(self, name):
        self.maps[name] = {}

    def snapshot(self, source, name):
        self.maps[name] = dict(self.maps[source])

    def delete(self, name):
        del self.maps[name]

    def write(self, name, extents):
        mine = self.maps[name]
        others = set()
        for other, blocks in self.maps.items():
            if other != name:
                others.update(blocks.values())
        for offset, data in extents:
            for b in range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1):
                if b not in mine or mine[b] in others:
                    mine[b] = self.next
                    self.next += 1

    def used(self):
        return len(set().union(*(m.values() for m in self.maps.values())))


# --- the server -----------------------------------------------------------------------

class Server:
    def __init__(self, pool, socket):
        self.pool, self.socket, self.process = pool, socket, None

    def start(self):
        pid = self.socket.with_suffix(".pid")
        pid.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["nbdkit", "-f", "-P", str(pid), "-U", str(self.socket), str(PLUGIN), str(self.pool)],
            stdin=subprocess.DEVNULL)
        for _ in range(1000):
            if pid.exists():
                return
            if self.process.poll() is not None:
                raise SystemExit(f"nbdkit ended with {self.process.returncode}")
            time.sleep(0.01)
        raise SystemExit("nbdkit does not come up")

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=120):
            raise SystemExit(f"nbdkit ended with {self.process.returncode}")
        self.process = None
        self.socket.unlink(missing_ok=True)

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.socket}"


def thinbd(pool, *args):
    out = run(CLI, "--pool", pool, "--json", *args)
    return json.loads(out) if out.strip() else None


# --- the two clients ----------------------------------------------------------------------

def write_by_libnbd(uri, extents):
    import nbd  # pylint: disable=import-outside-toplevel
    h = nbd.NBD()
    h.connect_uri(uri)
    for offset, data in extents:
        for i in range(0, len(data), 1 << 20):
            h.pwrite(data[i:i + (1 << 20)], offset + i)
    h.flush()
    h.shutdown()


def write_by_qemu(uri, extents, work):
    """qemu-io writes patterns or files: one file an extent."""
    commands = []
    with tempfile.TemporaryDirectory(dir=work) as tmp:
        for i, (offset, data) in enumerate(extents):
            path = pathlib.Path(tmp) / str(i)
            path.write_bytes(data)
            commands.append(f"write -q -s {path} {offset} {len(data)}")
        commands.append("flush")
        out = run("qemu-io", "-f", "raw", uri, input="\n".join(commands) + "\n")
        if "failed" in out or "error" in out.lower():
            raise SystemExit(f"qemu-io: {out}")


def write_all(server, work, jobs):
    """Each volume's changes, all volumes at once, by turns of both clients."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = []
        for i, (name, extents) in enumerate(jobs):
            uri = server.uri(name)
            if i % 2:
                futures.append(pool.submit(write_by_libnbd, uri, extents))
            else:
                futures.append(pool.submit(write_by_qemu, uri, extents, work))
        for f in futures:
            f.result()


# --- what must be true in the end -----------------------------------------------------------

def check_files(name, model, image, work):
    """The file system in an image is sound, and has the files of the model."""
    run("e2fsck", "-fn", image)
    for i, (file, digest) in enumerate(model.files.items()):
        got = work / f"dump{i}"
        run("debugfs", "-R", f"dump {file} {got}", image)
        if sha256(got) != digest:
            raise SystemExit(f"{name}: {file} has another checksum")
        got.unlink()


def check_contents(server, models, work):
    for name, model in sorted(models.items()):
        run("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw",
            server.uri(name), model.path)
        # The two are the same, byte for byte: so this is the volume's.
        check_files(name, model, model.path, work)
    print(f"contents: {len(models)} volumes and snapshots are as their models,\n"
          "  e2fsck is content, and all files' checksums are right")
    name = sorted(models)[0]
    copy = work / "copy.img"
    run("nbdcopy", server.uri(name), copy)
    check_files(name, models[name], copy, work)
    copy.unlink()
    print(f"nbdcopy: so is a copy of {name}")


def dump_of(metadata):
    return run("thin_dump", metadata)


def check_metadata(pool, work):
    run(CLI, "--pool", pool, "check")
    metadata = pool / "metadata"
    run("thin_check", "-q", metadata)
    xml = work / "dump.xml"
    xml.write_text(dump_of(metadata))
    restored = work / "restored"
    with open(restored, "wb") as f:
        f.truncate(metadata.stat().st_size)
    run("thin_restore", "-i", xml, "-o", restored)
    if dump_of(restored) != xml.read_text():
        raise SystemExit("thin_dump | thin_restore | thin_dump is not the same")
    print("metadata: thinbd check, thin_check and a round trip agree")


def check_usage(pool, blocks):
    used = thinbd(pool, "status")["data"]["used_bytes"]
    if used != blocks.used() * BLOCK:
        raise SystemExit(f"the pool uses {used} bytes, the model {blocks.used() * BLOCK}")
    print(f"usage: {used} bytes, as the model says")


# --- the story ---------------------------------------------------------------------------------

class Story:
    def __init__(self, work, rnd):
        self.work, self.rnd = work, rnd
        self.base = make_base(work, rnd)
        self.digest = sha256(self.base)
        self.pool = work / "pool"
        self.server = Server(self.pool, work / "sock")
        self.models, self.blocks = {}, Blocks()

    def make_volumes(self):
        thinbd(self.pool, "init", "--data-size", "2G")
        for i in range(VOLUMES):
            name = f"vm{i}"
            thinbd(self.pool, "create", name, "--origin", self.base)
            self.models[name] = Model(self.work / f"{name}.img", self.base)
            self.blocks.create(name)

    def write_round(self, names):
        jobs = []
        for name in names:
            model = self.models[name]
            before = self.work / f"{name}.before"
            run("cp", "--sparse=always", model.path, before)
            model.change(self.work, self.rnd)
            extents = changed_extents(before, model.path)
            before.unlink()
            self.blocks.write(name, extents)
            jobs.append((name, extents))
        write_all(self.server, self.work, jobs)

    def snapshot(self, source, name):
        thinbd(self.pool, "snapshot", source, name)
        model = self.models[source]
        self.models[name] = Model(self.work / f"{name}.img", model.path, model.files)
        self.blocks.snapshot(source, name)

    def delete(self, name):
        thinbd(self.pool, "delete", name)
        self.models.pop(name).path.unlink()
        self.blocks.delete(name)

    def volumes(self):
        return [n for n in self.models if "@" not in n]

    def tell(self):
        self.make_volumes()
        for day in range(3):
            self.server.start()
            self.write_round(self.volumes())
            self.server.stop()
            for source in self.rnd.sample(self.volumes(), 4):
                self.snapshot(source, f"{source}@day{day}")
            self.delete(self.rnd.choice(self.volumes()))
            self.delete(self.rnd.choice([n for n in self.models if "@" in n]))
        self.server.start()
        check_contents(self.server, self.models, self.work)
        self.server.stop()
        check_usage(self.pool, self.blocks)
        check_metadata(self.pool, self.work)
        if sha256(self.base) != self.digest:
            raise SystemExit("the origin has changed")
        print("origin: byte for byte what it was")


ROOM = 6 << 30  # bytes that all of it may take


def roomy_folder():
    """Memory where there is plenty: twenty copies of an image tire a disk."""
    shm = "/dev/shm"
    with contextlib.suppress(OSError):
        if shutil.disk_usage(shm).free > ROOM and available_memory() > 2 * ROOM:
            return shm
    return None


def available_memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def work_folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="thinbd-real-", dir=roomy_folder()))
    try:
        yield path
    finally:
        if os.environ.get("THINBD_KEEP"):
            print(f"kept: {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


def main():
    need("nbdkit", "qemu-io", "qemu-img", "nbdcopy", "mke2fs", "e2fsck", "debugfs",
         "thin_check", "thin_dump", "thin_restore")
    seed = int(os.environ.get("THINBD_SEED", time.time_ns()))
    print(f"seed: THINBD_SEED={seed} {HERE / 'test_real_image.py'}", flush=True)
    with work_folder() as work:
        story = Story(work, random.Random(seed))
        try:
            story.tell()
        finally:
            if story.server.process:
                story.server.process.kill()
                story.server.process.wait()


if __name__ == "__main__":
    main()
