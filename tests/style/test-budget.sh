#!/usr/bin/env bash
# Files and functions that a reader can keep in mind, and the rules that can be
# seen from outside; see CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."

status=0
complain() {
    echo "$1" >&2
    status=1
}

echo "-- no file has more than 700 lines"
while read -r lines file; do
    [ "$file" = total ] || [ "$lines" -le 700 ] || complain "$file: $lines lines"
done < <(find cli lib plugin -name '*.[ch]' -exec wc -l {} +)

echo "-- no function has more than 80 lines"
# A function's braces are alone in the first column.
long=$(find cli lib plugin -name '*.c' -exec awk '
    /^\{/ { start = FNR }
    /^\}/ && start { if (FNR - start > 81) print FILENAME ":" start ": " FNR - start - 1 " lines"
                     start = 0 }' {} +)
[ -z "$long" ] || complain "$long"

echo "-- no line has more than 100 columns, but for long strings"
wide=$(find cli lib plugin -name '*.[ch]' -exec awk '
    { line = $0; gsub(/\t/, "        ", line)
      if (length(line) > 100 && !/"/) print FILENAME ":" FNR }' {} +)
[ -z "$wide" ] || complain "$wide"

echo "-- nothing is left to do"
left=$(grep -rnE 'TODO|FIXME|XXX\b|HACK' cli lib plugin conf quickstart check \
    --include='*' | grep -v 'XXXXXX' || :)
[ -z "$left" ] || complain "$left"

echo "-- every source says whose it is"
while read -r file; do
    head -n 1 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' ||
        complain "$file: no licence"
done < <(find cli lib plugin -name '*.[ch]')

echo "-- bytes of pools go through lib/storage only"
# The registry has files of its own, the control room sockets.
past=$(grep -rnE '\b(pread|pwrite|preadv|pwritev|fsync|fdatasync|fallocate|ftruncate)(2|64)?\(' \
    lib cli plugin --include='*.c' | grep -vE '^lib/(storage|registry)/' || :)
[ -z "$past" ] || complain "$past"

exit $status
