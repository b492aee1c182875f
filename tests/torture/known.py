# SPDX-License-Identifier: BSD-3-Clause
"""Volumes whose every byte is known, and verbs that may be done to them.

What stands here knows nothing of how verbs are called, nor of who is killed
meanwhile: it says what to call, and how the pool will be then.
"""

import dataclasses
import typing

BLOCK = 65536


@dataclasses.dataclass(frozen=True)
class Volume:
    """As the list shows it, and its bytes."""
    content: bytes
    readonly: bool = False
    description: str = ""
    origin: typing.Optional[str] = None     # a path, or thin:NAME
    parent: typing.Optional[str] = None
    base: bytes = b""                       # the origin's bytes
    fresh: bool = True                      # nothing of it is its own

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    def written(self, at, data):
        return self.but(content=self.content[:at] + data + self.content[at + len(data):],
                        fresh=False)

    def looks(self):
        return len(self.content), self.readonly, self.description, self.origin

    def resized(self, size):
        """What comes by growing is the origin's, or zeros."""
        content = self.content[:size] + self.base[len(self.content):size].ljust(
            max(0, size - len(self.content)), b"\0")
        # What a volume was shrunk by does not show its origin any more.
        base = self.base[:size] if size < len(self.content) else self.base
        return self.but(content=content, base=base)


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of the pool as a whole.  What the status shows."""
    data: int
    metadata: int
    transaction: int = 0
    unnamed: typing.FrozenSet[int] = frozenset()
    held: bool = False

    def but(self, **changes):
        return dataclasses.replace(self, **changes)


class Verbs:
    """Each returns the words, the volumes and the facts that it leads to; or None: not
    now.  `volumes` and `facts` are never changed, only copied."""

    most = 8                # volumes
    largest = 1 << 20       # bytes of a new one

    def __init__(self, rnd, base_path, prefix=""):
        self.rnd, self.base_path, self.prefix = rnd, str(base_path), prefix
        self.base = base_path.read_bytes()
        self.numbers = 0

    def choose(self, volumes, facts):
        while True:
            verb = self.rnd.choice(self.ALL)
            chosen = getattr(self, verb)(volumes, facts)
            if chosen:
                words, volumes_after, facts_after = chosen
                return verb, [str(w) for w in words], volumes_after, facts_after

    def new_name(self, prefix):
        self.numbers += 1
        return f"{self.prefix}{prefix}{self.numbers}"

    def pick(self, volumes, what=lambda n, v: True):
        names = [n for n, v in volumes.items() if what(n, v)]
        return self.rnd.choice(names) if names else None

    @staticmethod
    def users(volumes, name):
        """Whose origin it is."""
        return {n for n, v in volumes.items() if v.origin == f"thin:{name}"}

    def unused(self, volumes):
        return lambda n, v: not self.users(volumes, n)

    def changeable(self, volumes):
        return lambda n, v: not v.readonly and not self.users(volumes, n)

    # --- volumes

    def create(self, volumes, facts):
        if len(volumes) >= self.most:
            return None
        count = min(self.rnd.choice((1, 1, 1, 2, 7)), self.most - len(volumes))
        names, kind = [self.new_name("v") for _ in range(count)], self.rnd.random()
        size = self.rnd.randrange(1, self.largest)
        lower = self.pick(volumes, lambda n, v: v.readonly)
        text = self.rnd.choice(("", "one line about it"))
        words, new = ["create", *names], None
        if kind < 0.3:
            new = Volume(bytes(size), description=text)
        elif kind < 0.7 or not lower:
            new = Volume(b"", description=text, origin=self.base_path, base=self.base)
        else:
            new = Volume(b"", description=text, origin=f"thin:{lower}",
                         base=volumes[lower].content)
        if new.origin:
            words += ["--origin", new.origin]
        if not new.origin or self.rnd.random() < 0.5:
            words += ["--size", size]
        else:
            size = len(new.base)
        if text:
            words += ["--description", text]
        return words, {**volumes, **{n: new.resized(size) for n in names}}, facts

    def snapshot(self, volumes, facts):
        count = self.rnd.choice((1, 1, 2, 3))
        if not volumes or len(volumes) + count > self.most:
            return None
        words, after = ["snapshot"], dict(volumes)
        writable = self.rnd.random() < 0.2
        for _ in range(count):
            source, name = self.pick(volumes), self.new_name("w" if writable else "s@")
            words += [source, name]
            after[name] = volumes[source].but(readonly=not writable, description="",
                                              parent=source)
        return words, after, facts

    def delete(self, volumes, facts):
        if len(volumes) < self.most // 2:
            return None
        names = set(self.rnd.sample(sorted(volumes), self.rnd.randint(1, 3)))
        if any(self.users(volumes, n) - names for n in names):
            return None
        after = {n: v.but(parent=None) if v.parent in names else v
                 for n, v in volumes.items() if n not in names}
        return ("delete", *names), after, facts

    def rename(self, volumes, facts):
        old = self.pick(volumes)
        if not old:
            return None
        new = self.new_name("s@" if "@" in old else "r")
        after = {new if n == old else n: v for n, v in volumes.items()}
        for n, v in after.items():
            if v.parent == old:
                after[n] = after[n].but(parent=new)
            if v.origin == f"thin:{old}":
                after[n] = after[n].but(origin=f"thin:{new}")
        return ("rename", old, new), after, facts

    def set(self, volumes, facts):
        name = self.pick(volumes, self.unused(volumes))
        if not name:
            return None
        v = volumes[name]
        text = f"number {self.rnd.randrange(1000)}"
        changed = v.but(readonly=not v.readonly, description=text)
        return ("set", name, f"readonly={str(changed.readonly).lower()}",
                f"description={text}"), {**volumes, name: changed}, facts

    def set_origin(self, volumes, facts):
        """Of a volume that has nothing of its own: all of it changes."""
        name = self.pick(volumes, lambda n, v: v.fresh and not self.users(volumes, n))
        if not name:
            return None
        origin, base = self.rnd.choice(((self.base_path, self.base), (None, b"")))
        changed = volumes[name].but(origin=origin, base=base, content=b"")
        changed = changed.resized(len(volumes[name].content))
        return ("set", name, f"origin={origin or ''}", "--force"), \
            {**volumes, name: changed}, facts

    def resize(self, volumes, facts):
        name = self.pick(volumes, self.changeable(volumes))
        if not name:
            return None
        size = self.rnd.randrange(1, 2 * self.largest)
        changed = volumes[name].resized(size)
        return ("resize", name, size, "--force"), {**volumes, name: changed}, facts

    def rollback(self, volumes, facts):
        """To a snapshot of it, which may have had another size or origin by then."""
        changeable = self.changeable(volumes)
        snapshot = self.pick(volumes, lambda n, v: v.parent in volumes and
                             changeable(v.parent, volumes[v.parent]) and
                             v.origin != f"thin:{v.parent}")
        if not snapshot:
            return None
        name, source = volumes[snapshot].parent, volumes[snapshot]
        changed = volumes[name].but(content=source.content, origin=source.origin,
                                    base=source.base, fresh=source.fresh)
        return ("rollback", name, snapshot), {**volumes, name: changed}, facts

    def flatten(self, volumes, facts):
        name = self.pick(volumes, lambda n, v: v.origin)
        if not name:
            return None
        flat = volumes[name].but(origin=None, base=b"", fresh=False)
        return ("flatten", name), {**volumes, name: flat}, facts

    # --- the pool

    def grow(self, volumes, facts):
        if self.rnd.random() < 0.5:
            after = facts.but(data=facts.data + self.rnd.randint(1, 9) * BLOCK)
            return ("grow", "--data-size", after.data), volumes, after
        after = facts.but(metadata=facts.metadata + self.rnd.randint(1, 9) * 4096)
        return ("grow", "--metadata-size", after.metadata), volumes, after

    def message(self, volumes, facts):
        """dm-thin's: devices without a name, a number, a held root."""
        dice = self.rnd.randrange(4)
        if dice == 0:
            after = facts.but(transaction=self.rnd.randrange(1, 1 << 40))
            return ("message", f"set_transaction_id {facts.transaction} "
                    f"{after.transaction}"), volumes, after
        if dice == 1:
            word = "release" if facts.held else "reserve"
            return ("message", f"{word}_metadata_snap"), volumes, \
                facts.but(held=not facts.held)
        if len(facts.unnamed) > 2:
            gone = self.rnd.choice(sorted(facts.unnamed))
            return ("message", f"delete {gone}"), volumes, \
                facts.but(unnamed=facts.unnamed - {gone})
        number = self.rnd.randrange(1000, 2000)
        if number in facts.unnamed:
            return None
        words = f"create_thin {number}"
        if facts.unnamed and dice == 3:
            words = f"create_snap {number} {self.rnd.choice(sorted(facts.unnamed))}"
        return ("message", words), volumes, facts.but(unnamed=facts.unnamed | {number})

    ALL = ("create", "snapshot", "delete", "rename", "set", "set_origin", "resize",
           "rollback", "flatten", "grow", "message")


def volumes_of(listing):
    """What the list shows, as Volume.looks() of each; and the unnamed devices."""
    named = {v["name"]: (v["size"], v["readonly"], v["description"], v["origin"])
             for v in listing if not v["name"].startswith("#")}
    unnamed = frozenset(v["device"] for v in listing if v["name"].startswith("#"))
    return named, unnamed


def facts_of(pool, unnamed):
    """As the pool says."""
    status = pool.json("status")
    held = pool.t("status", "--dm").split()[3] != "-"
    return Facts(status["data"]["total_bytes"], status["metadata"]["total_bytes"],
                 status["transaction_id"], unnamed, held)
