#!/usr/bin/env bash
# --json: one document, of the shape that the interface says, on stdout; nothing
# else there, and nothing on stderr.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

# shape EXPECTED VERB...: the answer has exactly these keys, of these types.
shape() {
    local expected=$1
    shift
    exits 0 "$thinbd" --pool "$pool" --json "$@"
    [ ! -s "$work/err" ] || fail "$*: on stderr: $(cat "$work/err")"
    [ "$(wc -l <"$work/out")" = 1 ] || fail "$*: not one line"
    python '
def shape(x):
    if isinstance(x, dict):
        return {k: shape(v) for k, v in x.items()}
    if isinstance(x, list):
        return [shape(v) for v in x[:1]]
    if isinstance(x, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", x):
        return "time"
    return {bool: "bool", int: "int", str: "str", type(None): None}[type(x)]
def agrees(want, have):
    if isinstance(want, str) and "?" in want:
        return have is None or agrees(want.strip("?"), have)
    if want == "any":
        return True
    if isinstance(want, dict):
        return isinstance(have, dict) and want.keys() == have.keys() and \
            all(agrees(want[k], have[k]) for k in want)
    if isinstance(want, list):
        return isinstance(have, list) and all(agrees(want[0], v) for v in have)
    return want == have
want, have = eval(sys.argv[1]), shape(doc)
assert agrees(want, have), "\nwant %s\nhave %s" % (want, have)' "$expected" <"$work/out" ||
        fail "$*: $(cat "$work/out")"
}

volume="{'name': 'str', 'device': 'int', 'size': 'int', 'mapped_bytes': 'int',
    'exclusive_bytes': 'int', 'origin': 'str?', 'parent': 'str?', 'readonly': 'bool',
    'created': 'time', 'clients': 'int', 'description': 'str'}"
status="{'pool': 'str', 'uuid': 'str', 'mode': 'str', 'served': 'bool', 'block_size': 'int',
    'transaction_id': 'int', 'needs_check': 'bool', 'volumes': 'int', 'clients': 'int',
    'data': {'used_bytes': 'int', 'total_bytes': 'int'},
    'metadata': {'used_bytes': 'int', 'total_bytes': 'int'}}"

shape "{'pool': 'str', 'uuid': 'str', 'block_size': 'int', 'data_bytes': 'int',
    'metadata_bytes': 'int', 'existed': 'bool', 'notes': ['str']}" init --data-size 64M
serve_if_wanted
an_image "$work/base" 131072
shape "$volume" create vm1 --origin "$work/base" --description 'a "quoted" <&> ü \ one'
expect description 'a "quoted" <&> ü \ one' "$(json '.[0].description' list vm1)"
shape "[$volume]" snapshot vm1 vm1@a
shape "$volume" rename vm1@a vm1@b
shape "$volume" set vm1 readonly=true
shape "$volume" set vm1 readonly=false
shape "$volume" resize vm1 1M
shape "$volume" rollback vm1 vm1@b
shape "[$volume]" list
shape "[$volume]" list --tree
shape "{**$volume, 'origin_identity': 'any', 'snapshots': ['str'], 'flattening': 'bool', 'transaction_id': 'int',
    'creation_time': 'int', 'snapshotted_time': 'int', 'problem': 'str?',
    'reserve_bytes': 'int', 'reserve_left_bytes': 'int', 'io': 'any'}" show vm1
shape "[{'offset': 'int', 'length': 'int', 'type': 'str'}]" map vm1
shape "[{'offset': 'int', 'length': 'int'}]" diff vm1@b vm1
shape "{'name': 'str', 'copied_bytes': 'int', 'done': 'bool'}" flatten vm1
deleted="{'deleted': ['str'], 'freed_bytes': 'int', 'freeing_bytes': 'int', 'dry_run': 'bool'}"
shape "$deleted" delete vm1@b --dry-run
shape "$deleted" delete vm1@b
shape "{'clean': 'bool', 'errors': 'int', 'leaks': 'int', 'repaired': 'bool',
    'blocks_checked': 'int', 'problems': ['any'], 'kept': 'str?', 'losses': ['any'], 'remarks': ['any']}" check
shape "'str'" message reserve_metadata_snap
shape "'str'" message release_metadata_snap
shape "'str'" status --dm
# A pool may say more about itself than the interface asks for.
exits 0 "$thinbd" --pool "$pool" --json status
python 'import os
want = eval(sys.argv[1])
assert want.keys() <= doc.keys(), doc
assert {"used_bytes", "total_bytes"} <= doc["data"].keys() & doc["metadata"].keys(), doc
assert doc["pool"] == os.path.realpath(sys.argv[2]), doc' "$status" "$pool" <"$work/out"
exits 0 "$thinbd" --pool "$pool" --json grow --data-size 128M
python 'assert eval(sys.argv[1]).keys() <= doc.keys(), doc' "$status" <"$work/out"

proves "an error is a document, and a line on stderr"
exits 1 "$thinbd" --pool "$pool" --json show nobody
python 'error = doc["error"]
assert error["code"] == "ENOENT" and error["message"].startswith("nobody: "), doc
assert doc.keys() == {"error"} and error.keys() == {"code", "message"}, doc' <"$work/out"
expect "the same line" "thinbd: $(jq -r .error.message <"$work/out")" "$(cat "$work/err")"
exits 1 "$thinbd" --pool "$pool" --json create vm1 --size 1M
expect "code" EEXIST "$(jq -r .error.code <"$work/out")"
exits 1 "$thinbd" --pool "$work/nowhere" --json status
python 'assert doc["error"]["code"], doc' <"$work/out"
