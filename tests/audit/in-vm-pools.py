#!/usr/bin/python3
"""Under the kernel: a pool with a random life on vda and vdb, and its metadata now and then as OUT/NUMBER.metadata.

    in-vm-pools.py OUT SEED OPERATIONS
"""

import os
import random
import subprocess
import sys

METADATA, DATA = "/dev/vda", "/dev/vdb"
BLOCK_SECTORS = 128
BLOCK = 512 * BLOCK_SECTORS
DEVICE_BLOCKS = 6000
MAX_DEVICES = 12
COPIES = 6


def dmsetup(*arguments):
    subprocess.run(["dmsetup", *arguments], check=True)


class Pool:
    """The kernel's pool, told what to do."""

    def __init__(self, generator):
        sectors = int(subprocess.check_output(["blockdev", "--getsz", DATA]))
        dmsetup("create", "pool", "--table",
                "0 %d thin-pool %s %s %d 0 1 skip_block_zeroing" % (sectors, METADATA, DATA, BLOCK_SECTORS))
        self._random = generator
        self._devices = []
        self._next = 0
        self._held = False

    def _message(self, *words):
        dmsetup("message", "pool", "0", " ".join(map(str, words)))

    def _with_device(self, device, function):
        dmsetup("create", "thin", "--table", "0 %d thin /dev/mapper/pool %d" % (DEVICE_BLOCKS * BLOCK_SECTORS, device))
        try:
            function("/dev/mapper/thin")
        finally:
            dmsetup("remove", "--retry", "thin")

    def create(self):
        self._message("create_thin", self._next)
        self._devices.append(self._next)
        self._next += 1

    def snapshot(self):
        self._message("create_snap", self._next, self._random.choice(self._devices))
        self._devices.append(self._next)
        self._next += 1

    def delete(self):
        device = self._devices.pop(self._random.randrange(len(self._devices)))
        self._message("delete", device)

    def hold(self):
        self._message("release_metadata_snap" if self._held else "reserve_metadata_snap")
        self._held = not self._held

    def _blocks(self):
        """A run of blocks, long or short, or some here and there."""
        first = self._random.randrange(DEVICE_BLOCKS)
        if self._random.random() < 0.7:
            return range(first, min(DEVICE_BLOCKS, first + self._random.choice([1, 30, 400, 1500])))
        return sorted(self._random.sample(range(DEVICE_BLOCKS), self._random.choice([3, 100, 400])))

    def write(self):
        blocks = self._blocks()

        def do(path):
            file = os.open(path, os.O_WRONLY)
            for block in blocks:
                os.pwrite(file, b"%4096d" % block, block * BLOCK)
            os.fsync(file)
            os.close(file)
        self._with_device(self._random.choice(self._devices), do)

    def discard(self):
        first = self._random.randrange(DEVICE_BLOCKS)
        length = min(DEVICE_BLOCKS - first, self._random.choice([1, 50, 700, 3000]))
        self._with_device(self._random.choice(self._devices), lambda path: subprocess.run(
            ["blkdiscard", "-o", str(first * BLOCK), "-l", str(length * BLOCK), path], check=True))

    def do_something(self):
        weighted = ([self.write] * 6 + [self.snapshot] * 4 + [self.discard] * 3 + [self.delete] * 2 +
                    [self.create, self.hold])
        operation = self._random.choice(weighted)
        if not self._devices:
            operation = self.create
        elif len(self._devices) >= MAX_DEVICES and operation in (self.create, self.snapshot):
            operation = self.delete
        operation()

    def copy(self, path):
        dmsetup("suspend", "pool")
        subprocess.run(["dd", "if=" + METADATA, "of=" + path, "bs=1M", "iflag=direct", "status=none"], check=True)
        dmsetup("resume", "pool")


def main(out, seed, operations):
    generator = random.Random(int(seed))
    pool = Pool(generator)
    for i in range(int(operations)):
        pool.do_something()
        if i % (int(operations) // COPIES) == 0:
            pool.copy(os.path.join(out, "%d.metadata" % i))
    pool.copy(os.path.join(out, "last.metadata"))
    dmsetup("remove", "pool")


if __name__ == "__main__":
    main(*sys.argv[1:])
