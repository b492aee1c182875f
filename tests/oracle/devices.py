"""Devices and their mappings, of the live superblock and of the metadata snapshot."""

from collections import Counter

import layout
from findings import runs
from layout import DETAILS, SUBTREE, TOP_LEVEL
from walk import Place, leaves

MAX_DEVICES_NAMED = 16          # devices named in one finding
MAX_WORK = 1 << 26              # steps of the one check whose work is not bounded by the size of the image
TIME_MASK = (1 << layout.TIME_BITS) - 1


class Version:
    """The devices as one superblock names them: the live one, or the metadata snapshot's ("held")."""

    def __init__(self, name, superblock, walker):
        self.name = name
        self.superblock = superblock
        self.roots = {}             # device -> Node, None if unreadable
        self.root_blocks = {}       # device -> block
        self.details = {}           # device -> (mapped_blocks, transaction_id, creation_time, snapshotted_time)
        self._top = walker.walk(superblock.mapping_root, TOP_LEVEL)
        self._details_root = walker.walk(superblock.details_root, DETAILS)
        for leaf in leaves(self._top):
            self.roots.update(zip(leaf.keys, leaf.children))
            self.root_blocks.update(zip(leaf.keys, leaf.values))
        for leaf in leaves(self._details_root):
            self.details.update(zip(leaf.keys, leaf.values))

    def check(self, findings):
        """The two trees against each other, and the details against the mappings."""
        label = {} if self.name == "live" else {"tree": "held root"}

        def add(kind, what, device):
            findings.add(kind, what, **label, device=device)

        if self._details_root is not None and self._details_root.complete:
            for device in sorted(self.roots.keys() - self.details.keys()):
                add("DEVICE_NO_DETAILS", "no details", device)
        if self._top is not None and self._top.complete:
            for device in sorted(self.details.keys() - self.roots.keys()):
                add("DEVICE_NO_MAPPING", "no mapping tree", device)
        for device in sorted(self.roots.keys() | self.details.keys()):
            if device > layout.MAX_DEVICE_ID:
                add("DEVICE_ID", "device id is too large", device)
        for device, details in sorted(self.details.items()):
            self._check_details(device, details, add)

    def _check_details(self, device, details, add):
        mapped, transaction, created, snapshotted = details
        root = self.roots.get(device)
        if root is not None and root.complete and root.count != mapped:
            add("MAPPED_BLOCKS", "says %d mapped blocks, has %d" % (mapped, root.count), device)
        if max(created, snapshotted) > self.superblock.time:
            add("DEVICE_TIME", "created at %d, snapshotted at %d, now is %d" % (
                created, snapshotted, self.superblock.time), device)
        if snapshotted < created:
            add("DEVICE_TIME_ORDER", "created at %d, snapshotted at %d" % (created, snapshotted), device)
        if transaction > self.superblock.trans_id:
            add("DEVICE_TRANS_ID", "transaction %d, the superblock's is %d" % (
                transaction, self.superblock.trans_id), device)

    def mappings(self):
        """(device, virtual block, data block, time) of each readable mapping, in order of device and key."""
        for device, root in sorted(self.roots.items()):
            for leaf in leaves(root):
                for key, value in zip(leaf.keys, leaf.values):
                    yield device, key, value >> layout.TIME_BITS, value & TIME_MASK


class MappingCheck:
    """All mapping trees of all versions together, each leaf looked at once."""

    def __init__(self, walker, versions, nr_data_blocks):
        self._walker = walker
        self._findings = walker.findings
        self._versions = versions
        self._nr_data_blocks = nr_data_blocks
        self._leaves = [node for node in walker.subtree_nodes if node.leaf and node.keys]

    def run(self):
        """Check the mappings; returns the references to each data block."""
        self._mark_nodes()
        refs = Counter()
        for leaf in self._leaves:
            blocks = [value >> layout.TIME_BITS for value in leaf.values]
            refs.update(blocks)
            if max(blocks) >= self._nr_data_blocks:
                self._report_past_end(leaf, blocks)
            self._check_times(leaf)
        for block in [block for block in refs if block >= self._nr_data_blocks]:
            del refs[block]
        self._check_sharing({block for block, count in refs.items() if count > 1})
        return refs

    def _mark_nodes(self):
        """Tell each node who reaches it, parents before children."""
        for version in self._versions:
            for device, root in version.roots.items():
                if root is None:
                    continue
                if version.name == "held":
                    root.held = True
                    continue
                root.live += 1
                if device in version.details:
                    root.first_snapshot = min(root.first_snapshot, version.details[device][3])
        for node in reversed(self._walker.subtree_nodes):
            for child in node.children:
                if child is not None:
                    child.live += node.live
                    child.held |= node.held
                    child.first_snapshot = min(child.first_snapshot, node.first_snapshot)

    @staticmethod
    def _place(leaf, first, last):
        return Place(leaf.place.device, first, last).where(SUBTREE, leaf.block)

    def _report_past_end(self, leaf, blocks):
        past = ((key, None) for key, block in zip(leaf.keys, blocks) if block >= self._nr_data_blocks)
        for first, last, _ in runs(past):
            self._findings.add("MAPPING_PAST_END", "mapped to a data block past the end, at %d" % self._nr_data_blocks,
                               **self._place(leaf, first, last))

    def _check_times(self, leaf):
        """No mapping is newer than a superblock that has it."""
        newest = max(value & TIME_MASK for value in leaf.values)
        for version in self._versions:
            now = version.superblock.time
            reached = leaf.held if version.name == "held" else leaf.live
            if not reached or newest <= now:
                continue
            late = ((key, value & TIME_MASK) for key, value in zip(leaf.keys, leaf.values) if value & TIME_MASK > now)
            for first, last, time in runs(late):
                self._findings.add("MAPPING_TIME", "time %d, the %s superblock's is %d" % (time, version.name, now),
                                   **self._place(leaf, first, last))

    def _check_sharing(self, repeated):
        """Data blocks with more than one mapping: never twice in one device, and flagged as shared in each.

        `repeated` are the blocks in more than one leaf entry.  A block in one entry only is shared if its leaf is.
        """
        mapped = Counter()          # block -> mappings in live devices
        if repeated:
            entries = {}            # leaf's block -> its (key, block, time) with a repeated block
            for leaf in self._leaves:
                pairs = [(key, value >> layout.TIME_BITS, value & TIME_MASK)
                         for key, value in zip(leaf.keys, leaf.values)]
                entries[leaf.block] = [pair for pair in pairs if pair[1] in repeated]
                for _, block, _ in entries[leaf.block]:
                    mapped[block] += leaf.live
            self._check_double(entries)
        for leaf in self._leaves:
            if leaf.live:
                self._check_flagged(leaf, mapped)

    def _check_flagged(self, leaf, mapped):
        """A mapping at or after its device's snapshotted_time is written in place, so nobody else may have it."""
        bad = []
        for key, value in zip(leaf.keys, leaf.values):
            if value & TIME_MASK >= leaf.first_snapshot:
                times = max(leaf.live, mapped[value >> layout.TIME_BITS])
                if times > 1:
                    bad.append((key, times))
        for first, last, times in runs(bad):
            self._findings.add("SHARED_NOT_FLAGGED", "mapped %d times, but not older than snapshotted_time %d" % (
                times, leaf.first_snapshot), **self._place(leaf, first, last))

    def _check_double(self, entries):
        """No data block twice in one device.  Devices with the same root are looked at once."""
        work = 0
        done = set()
        for version in self._versions:
            for device, root in sorted(version.roots.items()):
                snapshotted = version.details[device][3] if version.name == "live" and device in version.details else 0
                if root is None or (root.block, snapshotted) in done:
                    continue
                done.add((root.block, snapshotted))
                seen = {}
                for leaf in leaves(root):
                    work += 1 + len(entries.get(leaf.block, ()))
                    for key, block, time in entries.get(leaf.block, ()):
                        other, other_time = seen.get(block, (key, time))
                        seen[block] = key, time
                        if other != key:
                            flagged = max(time, other_time) < snapshotted
                            kind = "DOUBLE_FLAGGED" if flagged else "DOUBLE_MAPPING"
                            self._findings.add(kind, "data block %d is also mapped at key %d" % (
                                block, other), **Place(device, key, key).where(SUBTREE, leaf.block))
                if work > MAX_WORK:
                    self._findings.add("WORK_LIMIT", "not all devices were checked for double mappings")
                    return

    def locate(self, blocks):
        """For each of these data blocks, the place of one mapping to it."""
        blocks = set(blocks)
        places = {}
        if blocks:
            for leaf in self._leaves:
                for key, value in zip(leaf.keys, leaf.values):
                    if value >> layout.TIME_BITS in blocks:
                        places.setdefault(value >> layout.TIME_BITS, self._place(leaf, key, key))
        return places


class DeviceFinder:
    """Finds the devices that are hit by a damaged block of the mapping trees: all that reach it."""

    def __init__(self, walker, versions):
        self._parents = walker.parents
        self._devices = {}          # subtree root -> (version's name, device) pairs
        self._known = {}            # block -> what _reaching gave
        for version in versions:
            for device, block in sorted(version.root_blocks.items()):
                self._devices.setdefault(block, []).append((version.name, device))

    def complete(self, finding):
        """The finding with its devices, where it is in a mapping tree; `more_devices` says that not all are named."""
        if finding.where.get("tree") != SUBTREE.name:
            return finding
        block = finding.where["block"] if "block" in finding.where else finding.where["blocks"][0]
        if block not in self._known:
            self._known[block] = self._reaching(block)
        found = self._known[block][:MAX_DEVICES_NAMED]
        named = {"devices": [device for name, device in found if name == "live"],
                 "held_devices": [device for name, device in found if name == "held"]}
        if len(found) == 1 and named["devices"]:
            named = {"device": named["devices"][0]}
        elif len(found) < len(self._known[block]):
            named["more_devices"] = True
        rest = {name: value for name, value in finding.where.items() if name != "device"}
        return finding._replace(where={"tree": SUBTREE.name, **{k: v for k, v in named.items() if v != []}, **rest})

    def _reaching(self, block):
        """The devices above a block, live ones first; no more are looked for than can be named, and one."""
        found, seen, stack = set(), {block}, [block]
        while stack and len(found) <= MAX_DEVICES_NAMED:
            number = stack.pop()
            found.update(self._devices.get(number, ())[:MAX_DEVICES_NAMED + 1])
            for parent in self._parents.get(number, ()):
                if parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
        return sorted(found, key=lambda item: (item[0] != "live", item[1]))
