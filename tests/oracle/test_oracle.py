#!/usr/bin/python3
"""Tests of the auditor, the image builder and the damager against each other and against the thin tools.

    test_oracle.py [--seed N] [unittest's arguments]
    test_oracle.py --table             the damage table, measured: the same as `damage.py --table`

What is random depends on one seed, printed at the start; THINBD_SEED sets it too.  Tests of the thin tools are skipped
where they are not installed.
"""

import hashlib
import io
import json
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import audit
import build
import crc32c
import damage
import layout
from build import PRESETS, Device, Held, Pool, Run
from editor import Editor
from findings import KINDS
from layout import SUBTREE, TOP_LEVEL, Image

SEED = int(os.environ.get("THINBD_SEED") or random.SystemRandom().randrange(1 << 32))
EMPTY_POOL_SHA256 = "ac7c2fb4727a5fa64cf6f57633b6bbd385c82a0f74fdc7f7d5d7f9b9022a7e8a"
EMPTY_POOL_CHECKSUMS = (0xCAFF9186, 0x18E0660A, 0xC360E452, 0xA19F6375, 0x787F52C8, 0x41BFAA04, 0xCB3DDA35, 0xB1C81346)
RESTORE_NOTES = {"RESTORE_OFF_BY_ONE", "NR_FREE_TRUNCATED", "SLACK_NONZERO"}
RANDOM_POOLS = 30
RANDOM_DAMAGES = 250
LONGEST_AUDIT = 10              # seconds, for any garbage; a slow machine must not fail
FIXTURES = Path(__file__).resolve().parent / "fixtures"
LINUX_FIXTURES = ("linux-formatted", "linux-changed")
_images = {}


def preset(name):
    """The image of a preset, built once."""
    if name not in _images:
        _images[name] = build.build(PRESETS[name]())
    return _images[name]


def fixture(name):
    """An image that Linux wrote."""
    if name not in _images:
        _images[name] = Image.of_bytes(lzma.decompress((FIXTURES / (name + ".xz")).read_bytes()))
    return _images[name]


def kinds(image):
    return {finding.kind for finding in audit.audit(image)}


def report(findings):
    return "\n".join(map(str, findings[:20]))


def needs(tool):
    return unittest.skipUnless(shutil.which(tool), tool + " is not installed")


def run_tool(*arguments):
    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)


def mapping_lines(pool_devices):
    """What `audit.py --mappings` must print for these devices."""
    lines = []
    for device in sorted(pool_devices, key=lambda device: device.id):
        for key, value in device.mappings():
            lines.append("%d %d %d %d" % (device.id, key, value >> 24, value & 0xFFFFFF))
    return lines


def pool_xml(pool):
    """A pool in the XML that thin_restore reads."""
    yield ('<superblock uuid=%s time="%d" transaction="%d" version="2" data_block_size="%d" nr_data_blocks="%d">'
           % (quoteattr(pool.uuid), pool.time, pool.transaction_id, pool.data_block_size, pool.data_blocks))
    for device in sorted(pool.devices, key=lambda device: device.id):
        yield ('<device dev_id="%d" mapped_blocks="%d" transaction="%d" creation_time="%d" snap_time="%d">' % (
            device.id, len(device.mappings()), device.transaction_id, device.creation_time, device.snapshotted_time))
        for key, value in device.mappings():
            yield '<single_mapping origin_block="%d" data_block="%d" time="%d"/>' % (key, value >> 24, value & 0xFFFFFF)
        yield "</device>"
    yield "</superblock>"


def dump_lines(xml):
    """thin_dump's XML as the lines of `audit.py --mappings`."""
    lines = []
    for device in ElementTree.fromstring(xml).iter("device"):
        for item in device:
            first = int(item.get("origin_begin") or item.get("origin_block"))
            data = int(item.get("data_begin") or item.get("data_block"))
            lines += ["%s %d %d %s" % (device.get("dev_id"), first + i, data + i, item.get("time"))
                      for i in range(int(item.get("length", 1)))]
    return lines


class TestCase(unittest.TestCase):
    """With a scratch directory, and messages that name the seed."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.scratch = Path(directory.name)

    def file_of(self, image, name="image"):
        path = self.scratch / name
        image.write(path)
        return str(path)

    def assert_clean(self, image, allowed=frozenset()):
        findings = [finding for finding in audit.audit(image) if finding.kind not in allowed]
        self.assertFalse(findings, report(findings))

    def call(self, *arguments):
        """audit.py's main with these arguments: (status, stdout, stderr)."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = audit.main([str(argument) for argument in arguments])
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue(), err.getvalue()


class Vectors(TestCase):
    """Bytes agreed on with the kernel."""

    def test_crc(self):
        self.assertEqual(crc32c.crc32c(crc32c.CHECK_INPUT), crc32c.CHECK_VALUE)
        self.assertEqual(crc32c.crc32c(bytes(4092)), 0x58CDA791)

    def test_crc_table_equals_library(self):
        table = crc32c.TableCrc()
        generator = random.Random(SEED)
        for length in (0, 1, 2, 3, 4, 5, 9, 4092):
            data = generator.randbytes(length)
            self.assertEqual(table(data), crc32c.crc32c(data))
        self.assertEqual(table(crc32c.CHECK_INPUT), crc32c.CHECK_VALUE)

    def test_max_entries(self):
        self.assertEqual([layout.max_entries(size) for size in (8, 24, 16, 4)], [252, 126, 168, 336])

    def test_empty_pool(self):
        data = preset("empty").to_bytes()
        self.assertEqual(hashlib.sha256(data).hexdigest(), EMPTY_POOL_SHA256)
        checksums = tuple(struct.unpack_from("<I", data, 4096 * block)[0] for block in range(8))
        self.assertEqual(checksums, EMPTY_POOL_CHECKSUMS)


class GoodImages(TestCase):
    """The auditor finds nothing where nothing is wrong."""

    def test_presets(self):
        for name in PRESETS:
            with self.subTest(preset=name):
                self.assert_clean(preset(name))

    @needs("thin_check")
    def test_presets_thin_check(self):
        for name in PRESETS:
            with self.subTest(preset=name):
                run = run_tool("thin_check", "-q", self.file_of(preset(name)))
                self.assertEqual(run.returncode, 0, run.stdout)

    def test_presets_have_what_they_are_for(self):
        def depth(name):
            edit = Editor(preset(name), random.Random())
            return max(len(path) for root in edit.devices().values() for path in edit.paths(root, SUBTREE))

        edit = Editor(preset("wide-overflow"), random.Random())
        self.assertEqual((depth("one-device"), depth("counts"), depth("deep"), depth("wide-leaves")), (1, 2, 3, 3))
        self.assertGreater(len(edit.leaves(edit.data.root.ref_count_root, edit.data.overflow)), 1)
        self.assertGreater(len(edit.leaves(edit.metadata.root.ref_count_root, edit.metadata.overflow)), 1)
        edit = Editor(preset("rich"), random.Random())
        self.assertGreater(len(edit.leaves(edit.superblock.mapping_root, TOP_LEVEL)), 1)
        self.assertTrue(edit.metadata.blocks(3) and edit.data.blocks(3) and edit.superblock.held_root)

    def test_random_pools(self):
        for seed in range(SEED, SEED + RANDOM_POOLS):
            with self.subTest(seed=seed):
                pool = build.random_pool(seed)
                image = build.build(pool)
                self.assert_clean(image)
                _, out, _ = self.call("--mappings", self.file_of(image))
                self.assertEqual(out.splitlines(), mapping_lines(pool.devices))

    @needs("thin_check")
    def test_random_pools_thin_check(self):
        for seed in range(SEED, SEED + RANDOM_POOLS):
            with self.subTest(seed=seed):
                run = run_tool("thin_check", "-q", self.file_of(build.build(build.random_pool(seed))))
                self.assertEqual(run.returncode, 0, run.stdout)

    def test_grown_metadata_keeps_size_of_format(self):
        edit = Editor(preset("one-device"), random.Random(SEED))
        edit.set_superblock(metadata_nr_blocks=edit.superblock.metadata_nr_blocks // 2)
        self.assert_clean(edit.image)

    def test_device_larger_than_metadata(self):
        self.assert_clean(Image.of_bytes(preset("one-device").to_bytes() + bytes(100)))
        self.assert_clean(Image.of_bytes(preset("one-device").to_bytes() + bytes(4096 * 10)))

    def test_none_free_before_may_be_low(self):
        edit = Editor(preset("one-device"), random.Random(SEED))
        for space_map in (edit.data, edit.metadata):
            number, nr_free, _ = space_map.entry(0)
            space_map.set_entry(0, (number, nr_free, 0))
        self.assert_clean(edit.image)

    def test_parent_key_may_be_low(self):
        edit = Editor(build.build(Pool(data_blocks=600, devices=[Device(1, [Run(9, 0, 252), Run(1000, 300, 252)])])),
                      random.Random(SEED))
        root = edit.node(edit.devices()[1], SUBTREE)
        root.keys = [0, 500]
        root.save()
        self.assert_clean(edit.image)

    def test_one_node_as_root_and_as_child(self):
        pool = Pool(data_blocks=1000, time=1, fill=0.5, devices=[
            Device(1, [Run(0, 0, 126)], 0, 1, 1), Device(2, [Run(0, 0, 252)], 0, 1, 1)])
        self.assert_clean(build.build(pool))


class Restored(TestCase):
    """Images that thin_restore wrote: nothing but notes, and the mappings that went in."""

    def restore(self, pool):
        xml = self.scratch / "pool.xml"
        xml.write_text("\n".join(pool_xml(pool)), encoding="utf-8")
        image = self.scratch / "restored"
        with open(image, "wb") as file:
            file.truncate(2048 * layout.BLOCK_SIZE)
        run = run_tool("thin_restore", "-i", str(xml), "-o", str(image))
        self.assertEqual(run.returncode, 0, run.stdout)
        return image

    def check(self, pool):
        image = self.restore(pool)
        status, out, err = self.call("--mappings", image)
        self.assertEqual(out.splitlines(), mapping_lines(pool.devices))
        self.assertEqual(status, 0, err)
        self.assert_clean(Image.of_bytes(image.read_bytes()), RESTORE_NOTES)

    @needs("thin_restore")
    def test_presets(self):
        for name in PRESETS:
            if name not in ("wide-overflow", "wide-leaves", "data-index"):
                with self.subTest(preset=name):
                    self.check(PRESETS[name]())

    @needs("thin_restore")
    def test_random_pools(self):
        for seed in range(SEED, SEED + RANDOM_POOLS // 3):
            with self.subTest(seed=seed):
                self.check(build.random_pool(seed))

    @needs("thin_dump")
    def test_dump_agrees(self):
        for name in ("snapshots", "counts", "deep", "held-diverged"):
            with self.subTest(preset=name):
                run = run_tool("thin_dump", self.file_of(preset(name)))
                self.assertEqual(dump_lines(run.stdout), mapping_lines(PRESETS[name]().devices))


class Linux(TestCase):
    """Images that Linux itself wrote: nothing but old bytes in unused places."""

    def test_clean(self):
        for name in LINUX_FIXTURES:
            with self.subTest(fixture=name):
                self.assert_clean(fixture(name), {"SLACK_NONZERO"})

    @needs("thin_dump")
    def test_dump_agrees(self):
        for name in LINUX_FIXTURES:
            with self.subTest(fixture=name):
                path = self.file_of(fixture(name))
                _, out, _ = self.call("--mappings", path)
                self.assertEqual(out.splitlines(), dump_lines(run_tool("thin_dump", path).stdout))

    def test_damage_found(self):
        names = random.Random(SEED).sample(sorted(damage.KINDS), 40)
        for name in names:
            for image in map(fixture, LINUX_FIXTURES):
                with self.subTest(damage=name, seed=SEED):
                    try:
                        damaged = damage.apply(image, name, SEED)
                    except damage.Unsuitable:
                        continue
                    kind = damage.KINDS[name]
                    findings = audit.audit(damaged)
                    found = {finding.kind for finding in findings}
                    self.assertLessEqual(kind.expected, found, report(findings))
                    self.assertLessEqual(found, kind.expected | kind.allowed | {"SLACK_NONZERO"}, report(findings))


class HeldRoot(TestCase):
    """The metadata snapshot: its trees are counted, and checked like the live ones."""

    def test_shared_whole_is_counted_twice(self):
        image = preset("held")
        edit = Editor(image, random.Random())
        superblock, held = edit.superblock, edit.held_superblock()
        self.assertEqual((superblock.mapping_root, superblock.details_root), (held.mapping_root, held.details_root))
        for root in (held.mapping_root, held.details_root):
            self.assertEqual(edit.metadata.count(root), 2)
            edit.metadata.add(root, -1)
        self.assertEqual(kinds(edit.image), {"METADATA_COUNT_LOW"})

    def test_listing(self):
        path = self.file_of(preset("held-diverged"))
        pool = PRESETS["held-diverged"]()
        for option, devices in ((None, pool.devices), ("--held", pool.held.devices)):
            _, out, _ = self.call("--mappings", path, *([option] if option else []))
            self.assertEqual(out.splitlines(), mapping_lines(devices))

    def test_empty(self):
        self.assert_clean(build.build(Pool(data_blocks=64, held=Held([]))))

    def test_only_in_held_root(self):
        """A pool whose last device was deleted lives on in the metadata snapshot."""
        pool = Pool(data_blocks=64, time=1, held=Held([Device(1, [Run(0, 0, 64)])]))
        image = build.build(pool)
        self.assert_clean(image)
        edit = Editor(image, random.Random())
        edit.data.set_count(7, 0)
        self.assertEqual(kinds(edit.image), {"DATA_COUNT_LOW"})

    def test_write_in_place_after_hold_is_legal(self):
        """The metadata snapshot does not protect data: a block in it and in one device is not shared."""
        pool = Pool(data_blocks=64, time=1, devices=[Device(1, [Run(0, 0, 10, 1)], 0, 1, 1)])
        pool.held = Held([Device(1, [Run(0, 0, 9, 1)], 0, 1, 1)], 1)
        self.assert_clean(build.build(pool))

    @needs("thin_check")
    def test_thin_check(self):
        for name in ("held", "held-diverged", "rich"):
            run = run_tool("thin_check", "-q", "-m", self.file_of(preset(name)))
            self.assertEqual(run.returncode, 0, run.stdout)


class Damage(TestCase):
    """Each kind of damage is found, by its name."""

    def test_number_of_kinds(self):
        self.assertGreaterEqual(len(damage.KINDS), 60)

    def test_names_are_known(self):
        for kind in damage.KINDS.values():
            self.assertLessEqual(kind.expected | kind.allowed, set(KINDS))

    def test_every_finding_has_its_damage(self):
        """Every kind of finding is one that some damage asks for; the two others say that the audit is not whole."""
        expected = set().union(*(kind.expected for kind in damage.KINDS.values()))
        self.assertEqual(set(KINDS) - expected, {"COUNTS_NOT_JUDGED", "WORK_LIMIT"})

    def test_readme_has_all_kinds(self):
        rows = (FIXTURES.parent / "README.md").read_text(encoding="utf-8").splitlines()
        listed = [row.split("|")[1].strip() for row in rows if row.startswith("| ") and row.count("|") == 6]
        self.assertEqual(listed[1:], list(damage.KINDS))

    def test_legal_kinds_are_notes(self):
        """A kind that is said to be legal gives notes only, and the others do not."""
        for name, kind in damage.KINDS.items():
            legal = all(KINDS[found][0] == "note" for found in kind.expected)
            self.assertEqual(legal, "which is legal" in kind.meaning, name)

    def test_found(self):
        for name, kind in damage.KINDS.items():
            with self.subTest(damage=name, seed=SEED):
                findings = audit.audit(damage.apply(preset("rich"), name, SEED))
                found = {finding.kind for finding in findings}
                self.assertLessEqual(kind.expected, found, report(findings))
                self.assertLessEqual(found, kind.expected | kind.allowed, report(findings))

    def test_base_is_not_changed(self):
        image = preset("rich")
        before = image.to_bytes()
        damage.apply(image, "leaf-underfull", SEED)
        self.assertEqual(image.to_bytes(), before)

    def test_same_seed_same_damage(self):
        one, other = (damage.apply(preset("rich"), "leaf-checksum", SEED).to_bytes() for _ in range(2))
        self.assertEqual(one, other)

    def test_places(self):
        """A finding says where: device, keys and block of a damaged leaf."""
        edit = Editor(preset("rich"), random.Random(SEED))
        device, path = edit.private_path(2)
        edit.image.put(path[-1].number, layout.ZERO_BLOCK)
        finding = next(finding for finding in audit.audit(edit.image) if finding.kind == "BAD_CHECKSUM")
        keys = path[-1].keys
        self.assertEqual(finding.where, {"tree": "mapping tree", "device": device, "keys": (keys[0], keys[-1]),
                                         "block": path[-1].number})

    def test_places_of_a_shared_leaf(self):
        edit = Editor(preset("snapshots"), random.Random(SEED))
        leaf = edit.leaves(edit.devices()[3], SUBTREE)[1]
        edit.image.put(leaf.number, layout.ZERO_BLOCK)
        finding = next(finding for finding in audit.audit(edit.image) if finding.kind == "BAD_CHECKSUM")
        sharers = [device for device, root in edit.devices().items()
                   if any(leaf.number in node.values for node in [edit.node(root, SUBTREE)])]
        self.assertEqual(finding.where.get("devices", [finding.where.get("device")]), sharers)

    def test_place_of_a_lost_data_block(self):
        edit = Editor(preset("one-device"), random.Random(SEED))
        edit.data.set_count(105, 0)
        finding, = audit.audit(edit.image)
        self.assertEqual(finding.kind, "DATA_COUNT_LOW")
        self.assertEqual((finding.where["device"], finding.where["keys"]), (1, (505, 505)))


class Garbage(TestCase):
    """Whatever the image, the audit ends with findings or without."""

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        images = map(preset, ("snapshots", "counts", "held-diverged", "many-devices", "deep"))
        self.images = [(image, self.used_blocks(image)) for image in images]

    def audit(self, image):
        start = time.monotonic()
        findings = audit.audit(image)
        json.dumps([finding.as_dict() for finding in findings])
        report(findings)
        self.assertLess(time.monotonic() - start, LONGEST_AUDIT)
        return findings

    @staticmethod
    def used_blocks(image):
        counts = Editor(image, random.Random()).metadata
        return sorted(counts.blocks(1) + counts.blocks(2) + counts.blocks(3))

    def some_image(self):
        """(a copy of some image, its used blocks)"""
        image, used = self.random.choice(self.images)
        return image.copy(), used

    def test_flipped_bits(self):
        """Any flipped bit of a used block is found if the checksum is left alone."""
        for _ in range(RANDOM_DAMAGES):
            image, used = self.some_image()
            number = self.random.choice(used)
            block = bytearray(image.block(number))
            block[self.random.randrange(layout.BLOCK_SIZE)] ^= 1 << self.random.randrange(8)
            image.put(number, block)
            with self.subTest(seed=SEED, block=number):
                self.assertTrue(audit.is_damaged(self.audit(image)))

    def test_changed_fields(self):
        """Any change of a used block's words, checksum and number right again, is survived."""
        words = [0, 1, 2, 3, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1]
        for _ in range(RANDOM_DAMAGES):
            image, used = self.some_image()
            for number in self.random.sample(used, self.random.randrange(1, 4)):
                block_type = layout.block_type(image.block(number))
                block = bytearray(image.block(number))
                for _ in range(self.random.randrange(1, 5)):
                    offset = 4 * self.random.randrange(2, self.random.choice([16, 100, layout.BLOCK_SIZE // 4 - 1]))
                    word = self.random.choice(words + used + [self.random.getrandbits(64)])
                    struct.pack_into("<Q", block, offset, word)
                image.put(number, layout.seal(block, block_type, number if self.random.random() < 0.9 else None))
            self.audit(image)

    def test_swapped_blocks(self):
        for _ in range(RANDOM_DAMAGES // 3):
            image, used = self.some_image()
            one, other = self.random.sample(used, 2)
            block = image.block(other)
            image.put(one, layout.seal(block, layout.block_type(block), one))
            self.audit(image)

    def test_many_damages(self):
        """Several kinds of damage on top of each other."""
        names = sorted(damage.KINDS)
        for _ in range(RANDOM_DAMAGES // 10):
            image = preset("rich")
            for name in self.random.sample(names, 3):
                try:
                    image = damage.apply(image, name, self.random.randrange(1 << 32))
                except Exception:       # The damager trusts its input, which is damaged already.
                    continue
            self.audit(image)

    def test_no_metadata_at_all(self):
        for data in (b"", b"x", bytes(4095), bytes(4096), bytes(1 << 20), self.random.randbytes(1 << 16)):
            self.assertTrue(audit.is_damaged(self.audit(data)))

    def test_truncated(self):
        data = preset("snapshots").to_bytes()
        for length in (1, 364, 4095, 4096, 4097, 8192, 10 * 4096, len(data) - 1):
            self.assertTrue(audit.is_damaged(self.audit(data[:length])))

    def test_random_blocks_with_checksums(self):
        for _ in range(20):
            image = preset("snapshots").copy()
            for number in self.used_blocks(image)[1:]:
                block_type = layout.block_type(image.block(number))
                block = bytearray(self.random.randbytes(layout.BLOCK_SIZE))
                if block_type == layout.NODE:
                    layout.NODE_HEADER.pack_into(block, 0, 0, self.random.choice([1, 2]), 0, 252, 252, 8, 0)
                image.put(number, layout.seal(block, block_type, number))
            self.audit(image)

    def test_exponential_paths(self):
        """Nodes whose 252 children are all the same node, ten levels of them."""
        edit = Editor(preset("one-device"), self.random)
        child, = edit.devices().values()
        for _ in range(10):
            number = edit.allocate()
            edit.image.put(number, layout.pack_node(number, SUBTREE, False, list(range(252)), [child] * 252))
            child = number
        leaf, index = edit.entry(TOP_LEVEL, 1)
        leaf.values[index] = child
        leaf.save()
        self.assertTrue(audit.is_damaged(self.audit(edit.image)))
        status, _, _ = self.call("--mappings", self.file_of(edit.image))
        self.assertEqual(status, 1)

    def test_many_devices_of_one_large_tree(self):
        """Work for a root is done once, however many devices have it."""
        runs = [Run(0, 0, 40000)]
        pool = Pool(data_blocks=40000, time=1, devices=[Device(dev, runs, 0, 1, 1) for dev in range(3)])
        edit = Editor(build.build(pool), self.random)
        leaf, _ = edit.entry(TOP_LEVEL, 0)
        leaf.keys, leaf.values = list(range(252)), leaf.values[:1] * 252
        leaf.save()
        self.assertEqual({finding.kind for finding in self.audit(edit.image)},
                         {"DEVICE_NO_DETAILS", "METADATA_COUNT_LOW"})

    def test_findings_are_limited(self):
        edit = Editor(preset("rich"), self.random)
        for block in edit.data.blocks(1)[:3 * 1200:3]:
            edit.data.set_bits(block, 2)
        findings = [finding for finding in self.audit(edit.image) if finding.kind == "DATA_COUNT_HIGH"]
        self.assertLessEqual(len(findings), 1001)


class CommandLine(TestCase):
    """Exit statuses and output."""

    def setUp(self):
        super().setUp()
        self.good = self.file_of(preset("snapshots"), "a-good")
        self.bad = self.file_of(damage.apply(preset("rich"), "data-leak", SEED), "b-bad")
        self.noted = self.file_of(damage.apply(preset("rich"), "node-slack", SEED), "c-noted")

    def test_single(self):
        self.assertEqual(self.call(self.good), (0, "", ""))
        status, out, _ = self.call(self.bad)
        self.assertEqual(status, 1)
        self.assertRegex(out, r"^DATA_LEAK: .* \[nonfatal\]\n$")
        status, out, _ = self.call(self.noted)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"^SLACK_NONZERO: .* \[note\]\n$")

    def test_unreadable(self):
        self.assertEqual(self.call(self.scratch / "nothing")[0], 2)
        self.assertEqual(self.call(self.scratch)[0], 2)
        self.assertEqual(self.call()[0], 2)
        self.assertEqual(self.call("--json", "--mappings", self.good)[0], 2)

    def test_json(self):
        self.assertEqual(json.loads(self.call("--json", self.good)[1]), [])
        finding, = json.loads(self.call("--json", self.bad)[1])
        self.assertEqual((finding["kind"], finding["severity"]), ("DATA_LEAK", "nonfatal"))
        self.assertEqual(list(finding["where"]), ["data_blocks"])

    def test_batch(self):
        status, out, err = self.call("--batch", self.scratch, self.good, self.scratch / "nothing")
        lines = out.splitlines()
        self.assertEqual(status, 2)
        self.assertEqual([lines[0], lines[2], lines[3]],
                         [self.good + ": clean", self.noted + ": clean", self.good + ": clean"])
        self.assertTrue(lines[1].startswith(self.bad + ": DATA_LEAK: "))
        self.assertIn("nothing", err)
        self.assertEqual(self.call("--batch", self.good)[0], 0)
        self.assertEqual(self.call("--batch", self.scratch)[0], 1)

    def test_batch_json(self):
        lines = self.call("--batch", "--json", self.good, self.bad)[1].splitlines()
        self.assertEqual([len(json.loads(line)["findings"]) for line in lines], [0, 1])

    def test_devices(self):
        lines = self.call("--devices", self.good)[1].splitlines()
        self.assertEqual(lines, ["1 651 0 0 2", "2 651 1 1 1", "3 651 2 2 2"])

    def test_as_programs(self):
        """The files run by themselves, from anywhere."""
        here = Path(__file__).resolve().parent
        out = str(self.scratch / "out")
        for arguments in (["build.py", "held", out], ["audit.py", out], ["audit.py", "--kinds"],
                          ["damage.py", out, out + "2", "data-leak"], ["damage.py", "--list"]):
            run = subprocess.run([str(here / arguments[0])] + arguments[1:], cwd=self.scratch, timeout=60,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(run.returncode, 0, run.stdout)

    def test_json_description(self):
        spec = {"data_blocks": 64, "time": 1, "fill": 0.5,
                "devices": [{"id": 3, "runs": [[0, 5, 10, 1]], "creation_time": 1, "snapshotted_time": 1}],
                "held": {"devices": [], "time": 1}}
        image = build.build(build.pool_of_json(spec))
        self.assert_clean(image)
        _, out, _ = self.call("--mappings", self.file_of(image))
        self.assertEqual(out.splitlines()[0], "3 0 5 1")

    def test_speed(self):
        """1 MiB of metadata, nearly full, is audited in less than the 100 ms a crash image may take."""
        pool = Pool(metadata_blocks=256, data_blocks=60000, time=1,
                    devices=[Device(1, [Run(0, 0, 235 * 252)], 0, 1, 1), Device(2, [], 0, 1, 1)])
        data = build.build(pool).to_bytes()
        times = []
        for _ in range(5):
            start = time.process_time()
            self.assertEqual(audit.audit(data), [])
            times.append(time.process_time() - start)
        self.assertLess(min(times), 0.1)


def main(arguments):
    global SEED
    if arguments[1:2] == ["--table"]:
        damage.main(arguments[1:])
        return
    if arguments[1:2] == ["--seed"]:
        SEED = int(arguments[2])
        del arguments[1:3]
    print("THINBD_SEED=%d" % SEED, file=sys.stderr)
    unittest.main(argv=arguments)


if __name__ == "__main__":
    main(sys.argv)
