#!/usr/bin/env bash
# Terminals get colour and bars; pipes, files and --json get neither.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"
requires script

make_pool
t create vm1 --size 1M --description $'not \e[31m a colour' >"$work/output" 2>&1 ||
    t create vm1 --size 1M >"$work/output"

# on_terminal VERB...: what a terminal would get
on_terminal() {
    local words
    printf -v words '%q ' "$thinbd" --pool "$pool" "$@"
    script -qec "$words" /dev/null </dev/null
}

# Not grep -q, which would leave before all of it is written.
escapes() { grep $'\e' >/dev/null; }
bars() { grep '\[[#.]*\]' >/dev/null; }
export TERM=xterm

proves "colour on a terminal"
on_terminal status | escapes || fail "status without colour"
on_terminal list | escapes || fail "list without colour"
on_terminal status | bars || fail "status without bars"

proves "none with NO_COLOR, or where TERM is dumb"
! NO_COLOR=1 on_terminal status | escapes || fail "colour in spite of NO_COLOR"
! TERM=dumb on_terminal list | escapes || fail "colour on a dumb terminal"

proves "neither in a pipe, nor with --json"
for verb in status list 'list --tree' 'show vm1' 'map vm1' check; do
    # shellcheck disable=SC2086 # words
    ! t $verb 2>&1 | escapes || fail "escapes in a pipe: $verb"
    # shellcheck disable=SC2086 # words
    ! on_terminal --json $verb | escapes || fail "escapes with --json: $verb"
done
! t status | bars || fail "bars in a pipe"

proves "the words are the same"
on_terminal list | sed $'s/\e\\[[0-9;]*m//g; s/\r//' >"$work/terminal"
t list | diff - "$work/terminal" || fail "list on a terminal has other words"
