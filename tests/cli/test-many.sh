#!/usr/bin/env bash
# Many volumes in one change: all or none, all alike. THINBD_MANY: how many (300).
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

many=${THINBD_MANY:-300}
mapfile -t names < <(seq -f 'vm%g' "$many")

# volumes: how many there are.
volumes() { json length list; }

an_image "$work/base" 65536
begin

proves "$many are made in one call, all alike, one file and one device each"
exits 0 "$thinbd" --pool "$pool" create "${names[@]}" --size 1G --origin "$work/base" --readonly
expect "what it said" "created ${names[*]}" "$(cat "$work/out")"
expect "volumes" "$many" "$(volumes)"
expect "files" "$many" "$(find "$pool/volumes" -name '*.conf' | wc -l)"
expect "devices" "$many" "$(json '[.[].device] | unique | length' list)"
expect "alike" "1073741824 true $work/base" \
    "$(json '[.[] | "\(.size) \(.readonly) \(.origin)"] | unique | join("|")' list)"

proves "none is made where one can not be"
t_fails "vm7: there is such a volume" create new1 vm7 new2 --size 1M
t_fails "bad" create new1 'bad name' --size 1M
t_fails "new1: there is a volume of this name" create new1 new2 new1 --size 1M
t_fails "new1: give a --size" create new1 new2
expect "volumes" "$many" "$(volumes)"
exits 0 "$thinbd" --pool "$pool" --json create new1 vm7 new2@a --size 1M --if-not-exists
expect "those that are new" "new1 new2@a" "$(jq -r '.names | join(" ")' <"$work/out")"
expect "a name with @" "false true" "$(json '"\(.[0].readonly) \(.[1].readonly)"' list new1 new2@a)"
exits 0 "$thinbd" --pool "$pool" --json create vm1 vm2 --size 1M --if-not-exists
expect "nothing new" "[]" "$(jq -c .names <"$work/out")"

proves "one is told of as ever, also to who asks in the old way"
exits 0 "$thinbd" --pool "$pool" --json create one --size 1M
expect "its name" one "$(jq -r .name <"$work/out")"

proves "their snapshots are one group, and they are deleted together"
pairs=()
for name in "${names[@]}"; do
    pairs+=("$name" "$name@s")
done
exits 0 "$thinbd" --pool "$pool" snapshot "${pairs[@]}"
expect "volumes" $((2 * many + 3)) "$(volumes)"
expect "parents" "$many" "$(json '[.[] | select(.parent)] | length' list)"
exits 0 "$thinbd" --pool "$pool" delete "${names[@]}" one new1 vm1 new1
expect "deleted" "deleted ${names[*]} one new1, freed 0 B" "$(cat "$work/out")"
expect "volumes" $((many + 1)) "$(volumes)"
expect "parents" 0 "$(json '[.[] | select(.parent)] | length' list)"

proves "a volume that others stand on goes with them, or not at all"
exits 0 "$thinbd" --pool "$pool" create up1 up2 --origin thin:vm1@s
t_fails "vm1@s: is the origin of up2" delete vm2@s vm1@s up1
exits 0 "$thinbd" --pool "$pool" delete up2 vm1@s up1
expect "volumes" $((many)) "$(volumes)"
quietly t check
[ -z "$served" ] || stop_server
pool_is_well
