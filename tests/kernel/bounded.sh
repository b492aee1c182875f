# shellcheck shell=bash
# shellcheck disable=SC2154 # $out: the caller's
# bounded.sh: in the machine nothing waits for ever, and what does is looked at.
#
# A task that waits for a disk can not be killed, and so not be waited for by its
# parent. These leave it behind, and what the kernel knows of it in the folder $out:
# `blocked`, the tasks that wait, and `tasks`, all of them. Needs functions.sh.

look_at_tasks() {
    echo 1 >/proc/sys/kernel/sysrq
    echo w >/proc/sysrq-trigger
    dmesg >"$out/blocked"
    echo t >/proc/sysrq-trigger
    dmesg >"$out/tasks"
}

# within SECONDS COMMAND...: COMMAND ends in that time, or the test has failed.
within() {
    local deadline=$((SECONDS + $1)) process
    shift
    "$@" &
    process=$!
    while kill -0 "$process" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            look_at_tasks
            fail "this does not end: $*"
        fi
        sleep 0.1
    done
    wait "$process"
}

# until_true SECONDS COMMAND...: sooner or later COMMAND says yes.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "this does not come true: $*"
        sleep 0.1
    done
}

# end_within SECONDS: for all that is not under `within`. The whole machine goes.
end_within() {
    (
        sleep "$1"
        look_at_tasks
        echo "FAIL: no end after $1 s"
        sleep 1
        echo o >/proc/sysrq-trigger
    ) &
}
