# shellcheck shell=bash
# functions.sh: for the tests of the command line. Source it first, with "$@".
#
# A verb has to do the same whether the pool is served or not: most tests run
# twice, once with the argument `served`.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2034 # used by the tests
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../nbd/functions.sh"

served=${1-}
project=$(dirname "$tests")

# begin: a pool, served if that is what this run is about.
begin() {
    make_pool
    serve_if_wanted
}

serve_if_wanted() { [ -z "$served" ] || start_server "$pool"; }

# exits STATUS COMMAND...: must end so; what it said is in $work/out and $work/err.
exits() {
    local wanted=$1 status=0
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" = "$wanted" ] || fail "status $status, not $wanted: $*: $(cat "$work/err")"
}

# misused PATTERN ARGUMENT...: wrong usage of thinbd, said in one line.
misused() {
    local pattern=$1
    shift
    exits 2 "$thinbd" "$@"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $*: $(cat "$work/err")"
    grep -q "^thinbd: " "$work/err" || fail "not ours: $*: $(cat "$work/err")"
    grep -q -e "$pattern" "$work/err" || fail "no '$pattern': $*: $(cat "$work/err")"
    [ ! -s "$work/out" ] || fail "on stdout: $*: $(cat "$work/out")"
}

# python PROGRAM [ARGUMENT...]: with `doc` from the JSON on stdin.
python() {
    local program=$1
    shift
    /usr/bin/python3 -c "import json, re, sys
doc = json.load(sys.stdin)
$program" "$@"
}

# an_image FILE SIZE: its bytes tell where they stand.
an_image() {
    /usr/bin/python3 -c "import struct, sys
size = int(sys.argv[2])
words = (size + 7) // 8
with open(sys.argv[1], 'wb') as f:
    f.write(struct.pack('<%dQ' % words, *range(1, words + 1))[:size])" "$1" "$2"
}
