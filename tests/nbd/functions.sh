# shellcheck shell=bash
# functions.sh: for the tests of the server through NBD. Source it first.
# What it shares with the others is in ../interop/functions.sh.
# shellcheck source-path=SCRIPTDIR
# shellcheck disable=SC2034 # used by the tests
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../interop/functions.sh"

requires_build

pool=$work/pool

# t VERB...: thinbd on the test's pool.
t() { "$thinbd" --pool "$pool" "$@"; }

# t_fails PATTERN VERB...: must be refused, with such a line on stderr.
t_fails() {
    local pattern=$1 status=0
    shift
    t "$@" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = 1 ] || fail "status $status, not 1: $*: $(cat "$work/err")"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $*: $(cat "$work/err")"
    grep -q -e "$pattern" "$work/err" || fail "no '$pattern': $*: $(cat "$work/err")"
}

# make_pool [OPTION...]: a small one.
make_pool() { quietly t init --data-size 64M "$@"; }

# json FILTER VERB...: what jq's filter makes of the answer.
json() {
    local filter=$1
    shift
    t --json "$@" | jq -r "$filter"
}

# expect WHAT EXPECTED ACTUAL
expect() { [ "$2" = "$3" ] || fail "$1: '$3', not '$2'"; }

# nbd_python: Python with libnbd, and `h` connected to the export $1; the
# program is on stdin, its other arguments in `args`.
nbd_python() {
    local export_uri
    export_uri=$(uri "$1")
    shift
    /usr/bin/python3 -c '
import errno, nbd, sys, threading
uri, args = sys.argv[1], sys.argv[2:]
def connect(contexts=True):
    h = nbd.NBD()
    if contexts:
        h.add_meta_context("base:allocation")
    # What the server says is what we are after, not the library.
    h.set_strict_mode(0)
    h.connect_uri(uri)
    return h
def fails(code, f, *a):
    try:
        f(*a)
    except nbd.Error as e:
        assert e.errnum == code, (e.errnum, e.string)
    else:
        raise AssertionError("should have failed")
h = connect()
'"$(cat)" "$export_uri" "$@" || fail "the Python part"
}

# server_is_well: it still answers.
server_is_well() {
    kill -0 "$server" 2>/dev/null || fail "the server died"
    nbdinfo --list "nbd+unix:///?socket=$socket" >/dev/null || fail "the server does not list"
}

# The pool must be sound when nobody has it open.
pool_is_well() {
    quietly t check
    check_pool_metadata "$pool/metadata"
}
