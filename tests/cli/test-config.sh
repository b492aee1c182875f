#!/usr/bin/env bash
# The examples in conf/ are true: they are read, and set what they say.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

make_pool
proves "pool.conf is accepted as it is, and changes nothing"
before=$(json 'del(.uuid)' status)
cp "$project/conf/pool.conf" "$pool/pool.conf"
expect status "$before" "$(json 'del(.uuid)' status)"

proves "thinbd.conf is accepted as it is"
exits 1 env -u THINBD_POOL "$thinbd" --config "$project/conf/thinbd.conf" status
grep -q '/var/lib/thinbd/pool' "$work/err" || [ -e /var/lib/thinbd/pool ] ||
    fail "$(cat "$work/err")"

requires systemd-analyze
proves "the units are well-formed, and as closed as systemd can make them"
units=$build/conf
[ -e "$units/thinbd@.service" ] || skip "no units in $units"
mkdir "$work/units"
cp "$units/thinbd@.service" "$project/conf/thinbd@.socket" "$work/units/"
sed -i "s|^ExecStart=[^ ]*|ExecStart=$thinbd|" "$work/units/thinbd@.service"
quietly systemd-analyze verify --man=no "$work/units/thinbd@.service" \
    "$work/units/thinbd@.socket"
[ ! -s "$work/output" ] || fail "$(cat "$work/output")"
quietly systemd-analyze security --offline=true --threshold=15 "$work/units/thinbd@.service"
