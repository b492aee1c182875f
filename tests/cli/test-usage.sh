#!/usr/bin/env bash
# Arguments: global options, wrong usage, where the pool comes from.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

verbs='init create snapshot delete rename set resize rollback flatten list show map diff
    status grow check dump message serve'

proves "help and version need no pool"
exits 0 "$thinbd" --version
grep -Eqx 'thinbd [0-9]+\.[0-9]+\.[0-9]+' "$work/out" || fail "version: $(cat "$work/out")"
exits 0 "$thinbd" --help
for verb in $verbs; do
    grep -q "^  $verb " "$work/out" || fail "$verb is not in --help"
done
for verb in $verbs; do
    exits 0 "$thinbd" "$verb" --help
    head -n 1 "$work/out" | grep -q "^thinbd $verb" || fail "$verb --help: no usage"
    cp "$work/out" "$work/after"
    exits 0 "$thinbd" --help "$verb"
    cmp "$work/out" "$work/after" || fail "--help before and after $verb differ"
    [ "$(wc -L <"$work/out")" -le 100 ] || fail "$verb --help: long lines"
done

proves "wrong usage is status 2 and one line"
export THINBD_POOL=$pool
misused 'no verb'
misused 'frob: no such verb' frob
misused '--frob: no such option' --frob
misused '--frob: no such option; see thinbd create' create vm1 --frob
misused '-x: no such option' list -x
misused '--size: wants a value' create vm1 --size
misused '--readonly=yes: takes no value' create vm1 --readonly=yes
misused 'wants NAME' create
misused 'c: one argument too many' rename a b c
misused 'wants NEW' rename a
misused 'wants SOURCE NAME' snapshot vm1
misused 'wants SOURCE NAME' snapshot vm1 a vm2
misused 'wants --data-size' init
misused 'wants KEY=VALUE' set vm1
misused 'want KEY=VALUE' set vm1 readonly
misused '--readonly or --writable' snapshot vm1 a --readonly --writable
misused 'want one of thin|json' dump --format yaml
for size in '' x 10X -1 1.5G ' 1' '1 G'; do
    misused 'no size' create vm1 "--size=$size"
done
misused '--pool: wants a value' --pool
misused '--pool: wants a value' serve --pool

proves "with --json an error is a document, too, wherever the option stands"
for place in before after; do
    case $place in
        before) exits 2 "$thinbd" --json frob ;;
        after) exits 2 "$thinbd" frob --json ;;
    esac
    python 'assert doc["error"]["code"] == "EINVAL", doc
assert doc["error"]["message"].startswith("frob: "), doc' <"$work/out"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "and one line on stderr"
done

proves "global options stand anywhere, but not behind --"
make_pool
unset THINBD_POOL
exits 0 "$thinbd" --pool "$pool" --json status
exits 0 "$thinbd" status --pool="$pool" --json
exits 0 "$thinbd" status --json --pool "$pool"
exits 1 "$thinbd" --pool "$pool" show -- --json
grep -q '^thinbd: .*--json' "$work/err" || fail "--json as a name: $(cat "$work/err")"
exits 0 env POSIXLY_CORRECT=1 "$thinbd" create vm1 --size 1M --pool "$pool"

proves "the pool comes from --pool, THINBD_POOL, the configuration, in this order"
pool_of() { python 'print(doc["pool"])' <"$work/out"; }
echo "pool = \"$pool\";" >"$work/right.conf"
echo "pool = \"/nowhere\";" >"$work/wrong.conf"
exits 0 env THINBD_POOL=/nowhere "$thinbd" --pool "$pool" status
exits 0 env THINBD_POOL="$pool" "$thinbd" --config "$work/wrong.conf" status
exits 0 "$thinbd" --config "$work/right.conf" --json status
expect "pool of the configuration" "$(realpath "$pool")" "$(pool_of)"
echo 'pool = "pool"; # beside the file' >"$work/beside.conf"
exits 0 "$thinbd" --config "$work/beside.conf" --json status
[ -e /etc/thinbd/thinbd.conf ] || misused 'no pool: give --pool' status
(cd "$pool" && exits 0 "$thinbd" --pool . --json status &&
    expect "pool of a relative path" "$(realpath "$pool")" "$(pool_of)")

proves "a configuration with a mistake is refused, with its line"
printf '\npolo = "x";\n' >"$work/bad.conf"
exits 1 "$thinbd" --config "$work/bad.conf" status
grep -q 'bad.conf:2: .*polo' "$work/err" || fail "unknown key: $(cat "$work/err")"
printf 'pool = 3;\n' >"$work/bad.conf"
exits 1 "$thinbd" --config "$work/bad.conf" status
grep -q 'bad.conf:1: want pool' "$work/err" || fail "wrong type: $(cat "$work/err")"
printf 'pool = "a";\n\n}' >"$work/bad.conf"
exits 1 "$thinbd" --config "$work/bad.conf" status
grep -q 'bad.conf:3: ' "$work/err" || fail "syntax: $(cat "$work/err")"
exits 1 "$thinbd" --config "$work/none.conf" status
grep -q 'none.conf: No such file' "$work/err" || fail "no file: $(cat "$work/err")"
exits 0 "$thinbd" --config "$project/conf/thinbd.conf" --version

proves "an answer that cannot be written is no success"
exits 1 sh -c '"$@" >/dev/full' sh "$thinbd" --help
grep -q 'No space left' "$work/err" || fail "full: $(cat "$work/err")"
