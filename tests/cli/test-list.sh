#!/usr/bin/env bash
# list: the table, the tree, some only, again and again.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

begin
proves "an empty pool has a table without rows"
expect "lines" 1 "$(t list | wc -l)"
expect "json" '[]' "$(json . list)"

t create web --size 10M >"$work/output"
t create vm1 --size 1000001 >"$work/output"
t snapshot vm1 vm1@a >"$work/output"
t snapshot vm1@a child >"$work/output"
t snapshot vm1 vm1@b >"$work/output"

proves "the table: aligned, no blanks at the ends, in the order of the names"
t list >"$work/out"
expect "title" "NAME SIZE MAPPED EXCLUSIVE ORIGIN PARENT CLIENTS" \
    "$(head -n 1 "$work/out" | tr -s ' ')"
expect "names" "child vm1 vm1@a vm1@b web" "$(sed -n '2,$s/ .*//p' "$work/out" | xargs)"
! grep -q ' $' "$work/out" || fail "blanks at the ends of lines"
expect "sizes" "10 MiB" "$(sed -n 's/^web *\([0-9]* [A-Z]*iB\).*/\1/p' "$work/out")"
expect "exact" "1000001 B" "$(sed -n 's/^vm1 *\([0-9]* [A-Z]*\) .*/\1/p' "$work/out")"

proves "some only"
expect "two, as asked for" "web vm1" "$(json '[.[].name] | join(" ")' list web vm1)"

proves "the tree"
LC_ALL=C.UTF-8 "$thinbd" --pool "$pool" list --tree | sed 's/  *[0-9].*//' >"$work/out"
diff - "$work/out" <<'END' || fail "tree"
NAME              SIZE  MAPPED  EXCLUSIVE  ORIGIN  PARENT  CLIENTS
vm1
├─ vm1@a
│  └─ child
└─ vm1@b
web
END
LC_ALL=C "$thinbd" --pool "$pool" list --tree | sed 's/  *[0-9].*//' >"$work/out"
diff - "$work/out" <<'END' || fail "tree in ASCII"
NAME              SIZE  MAPPED  EXCLUSIVE  ORIGIN  PARENT  CLIENTS
vm1
|- vm1@a
|  `- child
`- vm1@b
web
END

proves "--watch: until Ctrl-C, which is no failure"
"$thinbd" --pool "$pool" list --watch >"$work/out" &
watch=$!
stop_watch() { kill "$watch" 2>/dev/null; }
cleanup_fn stop_watch
for _ in {1..100}; do
    [ "$(grep -c ^NAME "$work/out")" -lt 2 ] || break
    sleep 0.1
done
[ "$(grep -c ^NAME "$work/out")" -ge 2 ] || fail "did not repeat"
kill -INT $watch
status=0
wait $watch || status=$?
expect "status" 0 $status
! grep -q $'\e' "$work/out" || fail "escape sequences in a file"

proves "many children, in the order of their names, each on its own line"
pairs=()
for i in {10..59}; do pairs+=(vm1@b "kid$i"); done
t snapshot "${pairs[@]}" >"$work/output"
expect "children" 50 "$(LC_ALL=C "$thinbd" --pool "$pool" list --tree | grep -c '^   [|`]- kid')"
LC_ALL=C "$thinbd" --pool "$pool" list --tree | sed -n 's/.*- \(kid[0-9]*\) .*/\1/p' >"$work/out"
sort -c "$work/out" || fail "not in order"
expect "the last" "\`- kid59" "$(LC_ALL=C "$thinbd" --pool "$pool" list --tree | grep -o '`- kid.[0-9]')"

proves "a server that makes no sense: said, and no half of an answer"
[ -z "$served" ] || stop_server
for item in '{"name": ' '{} {}' 'null' '{"name": "a"}, "x": {}' '[1, 2' ''; do
    rm -f "$pool/control" "$work/ready"
    /usr/bin/python3 - "$pool/control" "$item" "$work/ready" <<'END' &
import pathlib, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
pathlib.Path(sys.argv[3]).touch()
peer = server.accept()[0]
lines = peer.makefile("rw")
print('{"thinbd": 1, "version": "0.1.0"}', file=lines, flush=True)
lines.readline()
print('{"id": 1, "item": {"name": "good"}}', file=lines)
print('{"id": 1, "item": ' + sys.argv[2] + "}", file=lines)
try:
    print('{"id": 1, "reply": {"result": null}}', file=lines, flush=True)
    lines.readline()
except BrokenPipeError:
    pass
END
    server=$!
    for _ in {1..500}; do [ -e "$work/ready" ] || sleep 0.02; done
    exits 1 "$thinbd" --pool "$pool" --json list
    wait $server
    expect "code for '$item'" EPROTO "$(jq -r .error.code <"$work/out")"
done
