#!/usr/bin/python3
"""Check dm-thin metadata in full: structure, both space maps, and every reference count, metadata and data.

    audit.py FILE                  one line for each finding
    audit.py --json FILE           the findings as a JSON list
    audit.py --mappings FILE       `dev vblock dblock time` for each mapping; findings go to stderr
    audit.py --devices FILE        `dev mapped_blocks trans_id creation_time snapshotted_time`; findings go to stderr
    audit.py --batch PATH...       many images, or directories of images, in one process: `FILE: clean` or findings
    audit.py --kinds               the kinds of finding, their severity and meaning

Exit status: 0 nothing wrong (there may be notes), 1 damage found, 2 wrong usage or a file that cannot be read.

Severities: `fatal` means data can be or already is lost, or cannot be reached; `nonfatal` means space is lost or an
account is wrong; `note` is legal and only worth knowing.

As a module: audit(image) takes bytes or a layout.Image and returns the list of Findings.  It accepts any garbage: no
block is parsed twice, depth is limited, and the only check that can grow faster than the image has a work limit.

Here is the order of the checks and the command line.  The checks are in superblock.py, walk.py (blocks and b-trees),
spacemap.py and devices.py.
"""

import argparse
import json
import os
import sys

import layout
from devices import DeviceFinder, MappingCheck, Version
from findings import KINDS, Findings
from layout import SUPERBLOCK, Image, SpaceMapRoot
from spacemap import SpaceMap
from superblock import check_held, check_superblock, unused_bytes
from walk import Walker

MAX_MAPPINGS_LISTED = 1 << 28
EXIT_CLEAN, EXIT_DAMAGED, EXIT_UNREADABLE = 0, 1, 2


class Audit:
    """One run over one image.  After run(), `live` and `held` are the Versions that could be read, or None."""

    def __init__(self, image):
        self.image = image if isinstance(image, Image) else Image.of_bytes(image)
        self.findings = Findings()
        self.live = None
        self.held = None

    def run(self):
        """Do all checks; returns the findings."""
        block = self.image.block(0)
        if block is None:
            self.findings.add("FILE_TOO_SHORT", "no superblock")
        elif block == layout.ZERO_BLOCK:
            self.findings.add("UNFORMATTED", "block 0 is all zero", block=0)
        else:
            return self._check_all(block)
        return self.findings.all()

    def _check_all(self, block):
        superblock = check_superblock(block, self.findings)
        metadata_root = SpaceMapRoot.unpack(superblock.metadata_sm)
        data_root = SpaceMapRoot.unpack(superblock.data_sm)
        if metadata_root.nr_blocks > self.image.nr_blocks:
            self.findings.add("FILE_TOO_SHORT", "%d metadata blocks in a file of %d" % (
                metadata_root.nr_blocks, self.image.nr_blocks))
        walker = Walker(self.image, metadata_root.nr_blocks, self.findings)
        walker.claim(0, "the superblock", {})
        walker.check_slack(0, unused_bytes(block))
        metadata_map = SpaceMap.read_metadata(metadata_root, walker)
        data_map = SpaceMap.read_data(data_root, walker)
        self.live = Version("live", superblock, walker)
        self.held = self._read_held(superblock, walker) if superblock.held_root else None
        walker.check_fill()

        versions = [version for version in (self.live, self.held) if version is not None]
        for version in versions:
            version.check(self.findings)
        mappings = MappingCheck(walker, versions, data_root.nr_blocks)
        data_refs = mappings.run()
        metadata_map.check(walker.refs, walker.metadata_read, walker.locate)
        data_map.check(data_refs, walker.data_read, mappings.locate)
        walker.note_slack()
        if not (walker.metadata_read and walker.data_read):
            self.findings.add("COUNTS_NOT_JUDGED", KINDS["COUNTS_NOT_JUDGED"][1])
        return list(map(DeviceFinder(walker, versions).complete, self.findings.all()))

    def _read_held(self, live, walker):
        """The metadata snapshot; None if its superblock cannot be read."""
        number = live.held_root
        where = {"tree": "held root", "block": number}
        block = None
        if walker.claim(number, "the held root", where):
            block = walker.read_block(number, SUPERBLOCK, where)
        if block is None:
            walker.metadata_read = walker.data_read = False
            return None
        walker.check_slack(number, block[layout.Superblock.FORMAT.size:])
        return Version("held", check_held(block, number, live, self.findings), walker)


def audit(image):
    """All findings in an image, given as bytes or as a layout.Image."""
    return Audit(image).run()


def is_damaged(findings):
    return any(finding.severity != "note" for finding in findings)


# -- Command line ------------------------------------------------------------------------------------------------

def _image_files(paths):
    """The files named, and the files in the directories named."""
    for path in paths:
        if os.path.isdir(path):
            with os.scandir(path) as directory:
                yield from sorted(entry.path for entry in directory if entry.is_file())
        else:
            yield path


def _audit_file(path):
    """(Audit, findings) of one file; the caller handles OSError."""
    with open(path, "rb", buffering=0) as file:
        run = Audit(Image.of_file(file))
        return run, run.run()


def _batch(paths, as_json):
    """Audit many images; one line for each finding or clean image, or one JSON object for each image."""
    status = EXIT_CLEAN
    for path in _image_files(paths):
        try:
            _, findings = _audit_file(path)
        except OSError as error:
            print("%s: %s" % (path, error), file=sys.stderr)
            status = EXIT_UNREADABLE
            continue
        if is_damaged(findings):
            status = max(status, EXIT_DAMAGED)
        if as_json:
            print(json.dumps({"file": path, "findings": [finding.as_dict() for finding in findings]}))
        elif is_damaged(findings):
            for finding in findings:
                print("%s: %s" % (path, finding))
        else:
            print("%s: clean" % path)
    return status


def _list_mappings(version):
    for number, mapping in enumerate(version.mappings()):
        if number == MAX_MAPPINGS_LISTED:
            print("only the first %d mappings are listed" % number, file=sys.stderr)
            return False
        print("%d %d %d %d" % mapping)
    return True


def _single(options):
    try:
        run, findings = _audit_file(options.paths[0])
    except OSError as error:
        print("%s: %s" % (options.paths[0], error), file=sys.stderr)
        return EXIT_UNREADABLE
    listed = True
    version = run.held if options.held else run.live
    if version is not None and options.mappings:
        listed = _list_mappings(version)
    if version is not None and options.devices:
        for device, details in sorted(version.details.items()):
            print("%d %d %d %d %d" % (device, *details))
    if options.json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding, file=sys.stderr if options.mappings or options.devices else sys.stdout)
    return EXIT_DAMAGED if is_damaged(findings) or not listed else EXIT_CLEAN


def main(arguments):
    parser = argparse.ArgumentParser(description="Check dm-thin metadata in full.",
                                     epilog="Exit status: 0 nothing wrong, 1 damage found, 2 usage or unreadable.")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    parser.add_argument("--mappings", action="store_true", help="list `dev vblock dblock time`")
    parser.add_argument("--devices", action="store_true",
                        help="list `dev mapped_blocks trans_id creation_time snapshotted_time`")
    parser.add_argument("--held", action="store_true", help="list from the metadata snapshot")
    parser.add_argument("--batch", action="store_true", help="check many images; directories are searched")
    parser.add_argument("--kinds", action="store_true", help="list the kinds of finding")
    parser.add_argument("paths", nargs="*", metavar="FILE")
    options = parser.parse_args(arguments)
    listing = options.mappings or options.devices
    if options.kinds:
        for kind, (severity, meaning) in KINDS.items():
            print("%-22s %-8s  %s" % (kind, severity, meaning))
        return EXIT_CLEAN
    if options.json and listing:
        parser.error("--json cannot be combined with a listing")
    if options.batch:
        if listing or not options.paths:
            parser.error("--batch takes files or directories, and no listing")
        return _batch(options.paths, options.json)
    if len(options.paths) != 1:
        parser.error("one FILE is needed")
    return _single(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
