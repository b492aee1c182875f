#!/usr/bin/env bash
# What `cmake --install` leaves is whole: run from there, and built against.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"
requires cmake cc pkg-config

root=$work/root
proves "an installation in another root"
quietly env DESTDIR="$root" cmake --install "$build" --prefix /usr
plugindir=$(sed -n 's/^THINBD_PLUGINDIR:PATH=//p' "$build/CMakeCache.txt")
for file in usr/bin/thinbd "$plugindir/nbdkit-thin-plugin.so" usr/include/thinbd.h \
        usr/share/doc/thinbd/examples/pool.conf usr/share/doc/thinbd/examples/thinbd.conf \
        usr/share/bash-completion/completions/thinbd; do
    [ -s "$root/$file" ] || fail "no $file"
done
! command -v scdoc >/dev/null || for page in man1/thinbd.1 man1/nbdkit-thin-plugin.1 \
        man5/thinbd.conf.5; do
    [ -s "$root/usr/share/man/$page" ] || fail "no $page"
done
lib=$(dirname "$(find "$root" -name libthinbd.so)")
[ -e "$lib/libthinbd.so.0" ] || fail "no soname"

proves "the program runs from there, without the build tree"
thinbd=$root/usr/bin/thinbd
plugin=$root/$plugindir/nbdkit-thin-plugin.so
! readelf -d "$thinbd" "$plugin" | grep -E 'RUNPATH|RPATH|libthinbd' ||
    fail "depends on where it was built"
make_pool
t create vm1 --size 1M >"$work/output"
start_server "$pool"
expect size 1048576 "$(nbdinfo --size "$(uri vm1)")"
stop_server

proves "the library exports what its header has, and nothing else"
diff <(nm -D --defined-only "$lib/libthinbd.so" | sed -n 's/.* T \([a-z_]*\).*/\1/p' | sort) \
    <(grep -Eo '\bthinbd_[a-z_]+\(' "$root/usr/include/thinbd.h" | tr -d '(' | sort -u |
        grep -vx 'thinbd_event_fn') >"$work/symbols" || fail "$(cat "$work/symbols")"

# Programs would have to be sanitized, too.
! grep -Eq '^THINBD_SANITIZE:STRING=.' "$build/CMakeCache.txt" || exit 0

proves "programs build with it, by pkg-config"
cat >"$work/version.c" <<'END'
#include <stdio.h>
#include <thinbd.h>
int main(void)
{
	puts(thinbd_version());
	return 0;
}
END
export PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
# shellcheck disable=SC2046 # words
quietly cc -Wall -Werror -o "$work/version" "$work/version.c" \
    $(pkg-config --define-variable=prefix=/usr --cflags thinbd) -I"$root/usr/include" \
    -L"$lib" -lthinbd
expect version "$(LD_LIBRARY_PATH=$lib "$work/version")" \
    "$("$thinbd" --version | sed 's/^thinbd //')"
