#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Served or not: the same words, the same output, the same errors, for each verb.

Two pools that are equal, one of them served, get the same calls; and once more with
--json.  What the calls are is one table: what is done, what is refused, and every
verb with every kind of wrong name in each place of one.  What is refused says so in
one line, and has changed nothing.

--every N: of N calls that are refused one.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))
# pylint: disable=wrong-import-position
from ground import CLI, Pool, in_memory, need, seed_from_environment, should, story

# {base}, {other}: images; {gone}: a path where nothing is.
DONE = """
list
list --tree
status
status --dm
create a --size 1M
create b --origin {base}
create c --origin {base} --size 3M --readonly --description 'a line about it'
create d@x --size 12345
create b --size 1M --if-not-exists
create e --origin thin:c
snapshot a a@1
snapshot a a@2 b b@2
snapshot a aw --writable
snapshot a a2 --readonly
snapshot a a@1 b b@3 --if-not-exists
list
list --tree
list a b@2
show a
show b
show c
show e
show a@1
map a
map b
map e
map c
diff a a@1
diff a b
diff b e
rename a z
rename a@1 z@1
set z description='two words' readonly=yes
set z readonly=false
set b@2 description=
set b origin={base}
set b origin={other} --force
set b origin= --force
show b
resize z 2M
resize z 100K
resize z 100001 --force
resize b 5M
resize b 1M
rollback z a@2
rollback b b@2
flatten b
flatten b
flatten e
flatten c --rate 100M/s
list
delete a@2 --dry-run
delete a@2 b@2 --dry-run
delete a@2 nobody --if-exists
delete nobody --if-exists
delete d@x
delete z z@1
list
list --tree
grow --data-size 80M
grow --metadata-size 9M
grow --data-size 96M --metadata-size 12M
message 'create_thin 100'
message 'create_snap 101 100'
message 'set_transaction_id 0 17'
message 'reserve_metadata_snap'
list
status --dm
message 'release_metadata_snap'
message 'delete 101'
message 'delete 100'
status
dump
dump --format json
dump --format thin
check
list
init --data-size 64M --if-not-exists
"""

REFUSED = """
init
create
create x
create x --size
create x --size 0
create x --size 1X
create x --size -1
create x --size 17E
create x --size 99999999999999999999
create x --origin {gone}
create x --origin {folder}
create x --origin thin:v
create x --origin thin:nobody
create x --origin thin:x --size 1M
create x --origin thin:
create x --origin nbd+unix:///e?socket={gone}
create x --origin nbd:
create x --size 1M --description 'two
lines'
create x --size 1M --colour red
create x v --size 1M
create thin:x --size 1M
snapshot
snapshot v
snapshot v x v
snapshot v x v x
snapshot v x nobody y
snapshot v x v s@1
snapshot v x --readonly --writable
delete
delete v nobody
delete v v nobody
delete low
rename
rename v
rename v x y
rename low v
set
set v
set v colour=red
set v readonly
set v readonly=maybe
set v readonly=true readonly=maybe
set v description='two
lines'
set v origin={gone}
set v origin=thin:v
set over origin={other}
set over origin=
set low readonly=false
set low origin={other} --force
resize
resize v
resize v 0
resize v 1X
resize v -5
resize v 17E
resize s@1 5M
resize low 5M
rollback
rollback v
rollback v v
rollback v over
rollback v low
rollback s@1 v
rollback low s@1
flatten
flatten over --rate fast
flatten over --rate 0X/s
flatten v w
list nobody
list v nobody
show
show v w
map
diff
diff v
status v
grow
grow --data-size 1M
grow --metadata-size 1M
grow --data-size many
grow --data-size 17E
check v
dump --format xml
dump v
message
message ''
message 'nothing'
message 'create_thin'
message 'create_thin 0'
message 'create_thin -1'
message 'create_thin 16777216'
message 'create_thin 1 2'
message 'create_snap 0 1'
message 'create_snap 900 901'
message 'delete 900'
message 'delete x'
message 'set_transaction_id 5 6'
message 'set_transaction_id 5'
message 'release_metadata_snap'
message 'reserve_metadata_snap now'
frobnicate
"""

WRONG = ["", "nobody", "../v", "v/", ".", "-v", "v v", "v\n", "v@", "@v", "v@a@b", "V\u00e4",
         "x" * 64, "x@" + "y" * 64, "thin:v", "#0"]
IN_NAMES = ["create {} --size 1M", "create new --origin thin:{}", "snapshot v {}",
            "snapshot {} new", "snapshot v new v {}", "delete {}", "delete v {}",
            "delete {} --dry-run", "rename {} new", "rename v {}", "set {} readonly=true",
            "resize {} 3M", "rollback {} s@1", "rollback v {}", "flatten {}", "list {}",
            "show {}", "map {}", "diff {} v", "diff v {}"]
TAKEN = ["create v --size 1M", "create s@1 --size 1M", "snapshot v over", "snapshot v v",
         "snapshot v new v s@1", "rename v over", "rename over s@1"]


def words_of(line):
    """As the shell's, but that a line may go on inside quotes."""
    found = re.findall(r"'([^']*)'|((?:[^\s']|'[^']*')+)", line)
    return [a or b.replace("'", "") for a, b in found]


def calls(text, names):
    lines = re.findall(r"(?:'[^']*'|[^'\n])+", text.strip())
    return [[w.format(**names) for w in words_of(line)] for line in lines]


def named_calls(names):
    for form in IN_NAMES:
        for name in names:
            yield [w.format(name) for w in form.split()]


class Twins:
    """The served one, and the other."""

    def __init__(self, work, json_too):
        self.json = json_too
        self.pools, self.wrong = {}, []
        for which in ("live", "offline"):
            (work / which).mkdir()
            self.pools[which] = Pool(work / which)
        self.count = 0

    def plain(self, which, text):
        """Without what may differ: where it is, who, when."""
        text = text.replace(str(self.pools[which].path), "POOL")
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?", "TIME", text)
        text = re.sub(r"modified [0-9.]+, changed [0-9.]+", "TIMES", text)
        text = re.sub(r'([mc]time_ns"?:? +)\d+', r"\g<1>0", text)
        # A metadata snapshot's block, and what only a server can count.
        text = re.sub(r'^("?\d+ \d+/\d+ \d+/\d+) \d+ ', r"\1 BLOCK ", text)
        text = re.sub(r"\nI/O since .*", "", text, flags=re.S)
        text = re.sub(r'"io": ({.*} }|null), "problem"', '"io": 0, "problem"', text)
        return re.sub(r'(served"?:? +)(true|false|yes|no)\b', r"\1true", text)

    def call(self, which, words, *options):
        done = subprocess.run(
            [str(CLI), "--pool", str(self.pools[which].path), *options, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            check=False, timeout=300)
        return (done.returncode, self.plain(which, done.stdout.decode()),
                self.plain(which, done.stderr.decode()))

    def both(self, words):
        options = ("--json",) if self.json else ()
        live = self.call("live", words, *options)
        offline = self.call("offline", words, *options)
        self.want(live == offline, words, "\nserved:    ", live, "\nnot served:", offline)
        self.count += 1
        return live

    def want(self, condition, *what):
        """All that is wrong is told of together, in the end."""
        if not condition:
            self.wrong.append(" ".join(str(w) for w in what))

    def end(self):
        should(not self.wrong, "\n".join(self.wrong))

    def done(self, words):
        status, out, err = self.both(words)
        self.want(status == 0 and not err, words, "gave", status, out, err)
        if self.json and words[0] != "dump":
            json.loads(out)

    def refused(self, words):
        status, out, err = self.both(words)
        self.want(status in (1, 2), words, "gave", status, out, err)
        if self.json:
            error = json.loads(out)["error"]
            self.want(error["code"].startswith("E") and error["message"] and
                   "\n" not in error["message"], words, error)
            return
        self.want(not out and err.count("\n") == 1 and err.startswith("thinbd: ") and
               not re.search("[\0-\x09\x0b-\x1f]", err), words, "said", repr(out), repr(err))

    def state(self, which):
        """All that could have changed."""
        folder = self.pools[which].path
        files = {str(p): p.read_bytes() for p in (*folder.glob("volumes/*"),
                                                  folder / "pool.conf")}
        sizes = [(folder / n).stat().st_size for n in ("metadata", "data")]
        return files, sizes, [self.call(which, words, "--json") for words in (
            ["list"], ["status"], ["status", "--dm"])]


def story_of_what_is_done(work, names, json_too, _every):
    twins = Twins(work, json_too)
    for pool in twins.pools.values():
        pool.t("init", "--data-size", "64M")
    twins.pools["live"].start()
    try:
        for words in calls(DONE, names):
            twins.done(words)
        twins.end()
        for pool in twins.pools.values():
            pool.stop()
            pool.check(oracle=False)
    finally:
        twins.pools["live"].kill()
    return twins.count


def refused_calls(names, json_too):
    for words in (*calls(REFUSED, names), *calls("\n".join(TAKEN), names),
                  *named_calls(WRONG[json_too::2])):
        if words != ["create", "nobody", "--size", "1M"] and \
                not (words[0] in ("snapshot", "rename") and words[-1] == "nobody"):
            yield words  # and not what is called by a good name


def story_of_what_is_refused(work, names, json_too, every):
    twins = Twins(work, json_too)
    for pool in twins.pools.values():
        pool.t("init", "--data-size", "64M")
        pool.t("create", "v", "--size", "1M")
        pool.t("snapshot", "v", "s@1")
        pool.t("create", "low", "--size", "2M", "--readonly")
        pool.t("create", "over", "--origin", "thin:low")
    twins.pools["live"].start()
    before = {which: twins.state(which) for which in twins.pools}
    try:
        for which in twins.pools:  # which says whether somebody is using it
            status, out, _ = twins.call(which, ["init", "--data-size", "64M"])
            should(status == 1 and not out, "a pool was made in the place of", which)
        for words in list(refused_calls(names, json_too))[::every]:
            twins.refused(words)
        twins.end()
        for which, state in before.items():
            should(twins.state(which) == state, which, "has changed")
        should(twins.pools["live"].alive(), "the server died")
        twins.pools["live"].stop()
        for pool in twins.pools.values():
            pool.check(oracle=False)
    finally:
        twins.pools["live"].kill()
    return twins.count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    need()
    with story(seed_from_environment(), tmp=in_memory()) as (work, rnd):
        names = {"base": work / "base", "other": work / "other", "gone": work / "gone",
                 "folder": work}
        for name, size in (("base", 1 << 20), ("other", 1 << 19)):
            (work / name).write_bytes(rnd.randbytes(size))
        for tell in (story_of_what_is_done, story_of_what_is_refused):
            for json_too in (False, True):
                folder = work / f"{tell.__name__}-{json_too}"
                folder.mkdir()
                count = tell(folder, names, json_too, every)
                print(f"  {tell.__name__}{', --json' if json_too else ''}: {count} calls")


if __name__ == "__main__":
    main()
