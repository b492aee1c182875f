#!/usr/bin/env bash
# create, snapshot, delete, rename, set, resize, rollback, show: what they do.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

begin
an_image "$work/base" 3145728

# of KEY NAME: a value of list
of() { json ".[0].$1" list "$2"; }
names() { json '[.[].name] | join(" ")' list; }

proves "create: sizes, the origin's size, descriptions, read-only"
t create plain --size 10M >"$work/output"
expect size 10485760 "$(of size plain)"
expect origin null "$(of origin plain)"
expect readonly false "$(of readonly plain)"
t create vm1 --origin "$work/base" --description 'the first one' >"$work/output"
expect size 3145728 "$(of size vm1)"
expect origin "$work/base" "$(of origin vm1)"
expect description 'the first one' "$(of description vm1)"
t create odd --size 1000001 --readonly >"$work/output"
expect size 1000001 "$(of size odd)"
expect readonly true "$(of readonly odd)"
t create huge --size 1P >"$work/output"
expect size 1125899906842624 "$(of size huge)"
t create fixed@1 --size 1M >"$work/output"
expect "readonly of a name with @" true "$(of readonly fixed@1)"
created=$(date -d "$(of created vm1)" +%s)
[ $(($(date +%s) - created)) -lt 600 ] || fail "created at $(of created vm1)"

proves "an origin's path is the same from every folder"
(cd "$work" && t create relative --origin base >"$work/output")
expect origin "$(realpath "$work")/base" "$(of origin relative)"

proves "create: what is there is refused, or success if asked so"
t_fails 'vm1: ' create vm1 --size 1M
t create vm1 --size 1M --if-not-exists >"$work/output"
expect "size is as it was" 3145728 "$(of size vm1)"
t_fails 'origin\|size' create neither

proves "snapshot: of a volume, of a snapshot, several at once"
t snapshot vm1 vm1@a >"$work/output"
expect parent vm1 "$(of parent vm1@a)"
expect origin "$work/base" "$(of origin vm1@a)"
expect readonly true "$(of readonly vm1@a)"
t snapshot vm1@a clone >"$work/output"
expect readonly false "$(of readonly clone)"
t snapshot clone clone@w --writable vm1 vm1ro --readonly >"$work/output" 2>&1 &&
    fail "--readonly and --writable"
t snapshot clone clone@w --writable >"$work/output"
expect readonly false "$(of readonly clone@w)"
t snapshot vm1 frozen --readonly >"$work/output"
expect readonly true "$(of readonly frozen)"
t snapshot vm1 g1 plain g2 >"$work/output"
expect parent plain "$(of parent g2)"

proves "snapshot: all or none"
before=$(names)
t_fails 'nobody: ' snapshot vm1 h1 nobody h2
t_fails 'g1: ' snapshot vm1 h1 plain g1
t_fails 'h1: ' snapshot vm1 h1 plain h1
expect "none was made" "$before" "$(names)"
t snapshot vm1 g1 plain g2 --if-not-exists >"$work/output"
expect "and none again" "$before" "$(names)"

proves "rename: in the list, and in its snapshots' parents"
t rename vm1 first >"$work/output"
t_fails 'vm1: ' show vm1
expect parent first "$(of parent vm1@a)"
t_fails 'plain: ' rename first plain
t_fails 'vm1: ' rename vm1 vm2
t rename first vm1 >"$work/output"

proves "set: readonly, description, nothing else"
t set vm1 readonly=true 'description=with spaces = and more' >"$work/output"
expect readonly true "$(of readonly vm1)"
expect description 'with spaces = and more' "$(of description vm1)"
t set vm1 readonly=false description= >"$work/output"
expect readonly false "$(of readonly vm1)"
expect description '' "$(of description vm1)"
t_fails 'colour' set vm1 colour=red
t_fails 'readonly' set vm1 readonly=maybe
t_fails 'colour' set vm1 description=x colour=red
expect "all or nothing" '' "$(of description vm1)"

proves "set origin: only the same one, unless forced"
cp "$work/base" "$work/other"
truncate -s 2M "$work/other"
t_fails 'force' set vm1 "origin=$work/other"
expect origin "$work/base" "$(of origin vm1)"
(cd "$work" && t set vm1 origin=other --force >"$work/output")
expect origin "$(realpath "$work")/other" "$(of origin vm1)"
t set vm1 "origin=$work/base" --force >"$work/output"

proves "resize: grow, shrink"
t resize plain 20M >"$work/output"
expect size 20971520 "$(of size plain)"
t resize plain 5M >"$work/output"
expect size 5242880 "$(of size plain)"
t_fails 'plain: ' resize plain 0
t_fails 'plain: ' resize plain 8E

proves "rollback"
t rollback vm1 vm1@a >"$work/output"
t_fails 'nobody: ' rollback vm1 nobody
expect "its origin is there still" "$work/base" "$(of origin vm1)"

proves "show: a volume, in words"
t show vm1 >"$work/out"
grep -Eq '^name +vm1$' "$work/out" || fail "$(cat "$work/out")"
grep -Eq '^size +3 MiB \(3145728 bytes\)$' "$work/out" || fail "$(cat "$work/out")"
grep -Eq "^origin +$work/base\$" "$work/out" || fail "$(cat "$work/out")"
expect snapshots 'frozen g1 vm1@a' "$(json '.snapshots | sort | join(" ")' show vm1)"

proves "create --reserve: kept from the beginning, or nothing is made"
reserved() { json .data.reserved_bytes status; }
total=$(json .data.total_bytes status)
used=$(json .data.used_bytes status)
spare=$(((total - used) / 1048576))
before=$(names)
t create kept --size 8M --reserve 4M >"$work/output"
expect "kept" "4194304 4194304" "$(json .reserve_bytes show kept) $(reserved)"
expect "of it left" 4194304 "$(json .reserve_left_bytes show kept)"
t_fails "new1: the pool can not keep .* for it: .* not kept for others; .*grow" \
    create new1 --size 1G --reserve "$((spare - 3))M"
t_fails "new2: the pool can not keep" create new1 new2 --size 1G --reserve "$((spare / 2))M"
t_fails "new1: reserve: .*more than its size" create new1 --size 1M --reserve 2M
t_fails "new1: reserve: .*0" create new1 --size 1M --reserve 0
misused "many: no size" --pool "$pool" create new1 --size 1M --reserve many
t_fails "kept: there is such a volume" create new1 kept --size 1M --reserve 1M
expect "nothing was made" "$before" \
    "$(json '[.[].name | select(. != "kept")] | join(" ")' list)"
expect "nor kept" 4194304 "$(reserved)"
t create kept --size 8M --reserve 8M --if-not-exists >"$work/output"
expect "as it was" 4194304 "$(json .reserve_bytes show kept)"
t create two1 two2 --size 8M --reserve 1M >"$work/output"
expect "each its own" 6291456 "$(reserved)"
t delete two1 two2 kept >"$work/output"
expect "given back" 0 "$(reserved)"
expect "the others" "$before" "$(names)"

proves "delete: says first, all or none, in any order"
json . delete vm1 vm1@a --dry-run >"$work/output"
expect "--dry-run deletes nothing" vm1 "$(of name vm1)"
t_fails 'nobody: ' delete vm1 nobody
expect "none was deleted" vm1 "$(of name vm1)"
t delete vm1 nobody --if-exists >"$work/output"
t_fails 'vm1: ' show vm1
expect "who outlives its parent has none" null "$(of parent vm1@a)"
mapfile -t all < <(json '.[].name' list)
t delete "${all[@]}" >"$work/output"
expect "nothing is left" '' "$(names)"
expect "and nothing used" 0 "$(json .data.used_bytes status)"

check_after() {
    [ -z "$served" ] || stop_server
    check_pool_metadata "$pool/metadata"
}
check_after
