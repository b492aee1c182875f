#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Cut a metadata image down to a seed: all up to its last block in use.

    make_meta_seeds.py IMAGE SEED
"""

import sys

BLOCK = 4096


def main():
    image, seed = sys.argv[1:]
    with open(image, "rb") as f:
        data = f.read()
    used = len(data.rstrip(b"\0"))
    with open(seed, "wb") as f:
        f.write(data[:(used + BLOCK - 1) // BLOCK * BLOCK])


if __name__ == "__main__":
    main()
