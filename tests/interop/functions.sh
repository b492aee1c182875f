# shellcheck shell=bash
# functions.sh: what the shell tests share. Source it as the first thing.
#
# It sets
#   $thinbd $plugin   what the build made, in $THINBD_BUILD_DIR or build/
#   $work             an empty folder; removed at the end, kept after a failure
#   $tools            folders with thin_check and its kin: the system's (0.9.0 on
#                     Debian 12), and 1.1.0 if `tools-1.1` has fetched it
# Status of a test: 0 passed, 77 skipped (nbdkit's and ctest's convention), else
# failed.
set -euo pipefail

tests=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
build=${THINBD_BUILD_DIR:-$(dirname "$tests")/build}
thinbd=$build/cli/thinbd
plugin=$build/plugin/nbdkit-thin-plugin.so
oracle=$tests/oracle/audit.py
PATH=$PATH:/usr/sbin:/sbin
unset THINBD_POOL

skip() {
    echo "SKIP: $1"
    exit 77
}

fail() {
    echo "FAIL: $1" >&2
    exit 1
}

# Say what the next lines are to show.
proves() { echo "-- $1"; }

# Stop the test as skipped unless each program is there.
requires() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not there"
    done
}

requires_build() {
    [ -x "$thinbd" ] || skip "$thinbd is not built"
    [ -e "$plugin" ] || skip "$plugin is not built"
    requires nbdkit nbdcopy qemu-io jq
}

# Run a command when the test ends, however it ends; the last one comes first.
cleanups=()
cleanup_fn() { cleanups=("$*" "${cleanups[@]}"); }

# shellcheck disable=SC2317 # called by the trap
run_cleanups() {
    local status=$? command
    set +e
    for command in "${cleanups[@]}"; do $command; done
    case $status in
        0 | 77) rm -rf "$work" ;;
        *) echo "kept: $work" >&2 ;;
    esac
    exit "$status"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/thinbd-test.XXXXXX")
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Show a command's output only if it fails.
quietly() {
    "$@" >"$work/output" 2>&1 || {
        cat "$work/output" >&2
        fail "$*"
    }
}

# must_fail COMMAND...: it has to end with an error, and not by a signal.
must_fail() {
    local status=0
    "$@" >"$work/output" 2>&1 || status=$?
    [ "$status" -ne 0 ] || fail "should have failed: $*"
    [ "$status" -lt 124 ] || fail "status $status: $*: $(cat "$work/output")"
}

# same A B WHAT: two files must be equal.
same() { cmp "$1" "$2" >&2 || fail "$3: $1 and $2 differ"; }

### Serving

server=
socket=$work/socket
listen=(-U "$socket")

# start_server ARGUMENT...: `nbdkit thin ARGUMENT...`, listening as $listen says.
start_server() {
    local tries
    rm -f "$socket" "$work/pid"
    nbdkit -f "${listen[@]}" -P "$work/pid" "$plugin" "$@" </dev/null &
    server=$!
    for tries in {1..200}; do
        [ ! -s "$work/pid" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    stop_server || :
    fail "no server ($tries tries): nbdkit $plugin $*"
}

# As a power cut is to the server; what it leaves is for the next one to find.
kill_server() {
    kill -KILL "$server"
    wait "$server" 2>/dev/null || :
    server=
}

# A clean end; its exit status is nbdkit's.
stop_server() {
    local pid=$server
    [ "$pid" ] || return 0
    server=
    kill "$pid" 2>/dev/null || :
    wait "$pid"
}
cleanup_fn stop_server

# The URI of an export.
uri() { echo "nbd+unix:///$1?socket=$socket"; }

# sum_of PATH-OR-URI: SHA-256 of all its bytes.
sum_of() {
    case $1 in
        nbd*) nbdcopy "$1" - | sha256sum ;;
        *) sha256sum <"$1" ;;
    esac | cut -d ' ' -f 1
}

### The thin tools

tools=()
! command -v thin_check >/dev/null || tools+=("$(dirname "$(command -v thin_check)")")
! new_tools=$("$tests/interop/tools-1.1" --cached 2>/dev/null) || tools+=("$new_tools")

requires_tools() { [ "${#tools[@]}" -gt 0 ] || skip "no thin-provisioning-tools"; }

# check_pool_metadata FILE: every auditor that is not our own has to be content.
# 0.9.0 says next to nothing about the data side; 1.1.0 and the oracle do.
check_pool_metadata() {
    local folder
    for folder in "${tools[@]}"; do quietly "$folder/thin_check" "$1"; done
    [ ! -e "$oracle" ] || quietly /usr/bin/python3 "$oracle" "$1"
}
