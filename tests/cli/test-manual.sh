#!/usr/bin/env bash
# The manual and --help must name the same verbs and options, and the manual and
# the plugin the same parameters.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

# options_of_help VERB: sorted, one a line
options_of_help() {
    "$thinbd" "$1" --help | sed -n '/^Options of every verb/q;s/^  \(--[-a-z]*\).*/\1/p' | sort
}

# The same of the manual: its verbs are "*verb* ..." or "*verb*" at the line's start,
# their options "*--option*" one tab in, up to the next verb.
options_of_manual() {
    awk -v verb="$1" '
        /^# VERBS/ { on = 1; next }
        /^# / { on = 0 }
        on && /^\*[a-z][-a-z]*\*/ { v = $1; gsub(/\*/, "", v) }
        on && v == verb && /\*--[-a-z]+\*/ {
            line = /^\t\*--/ ? $1 : /^\*/ ? $2 : ""
            gsub(/\*/, "", line)
            if (line ~ /^--/) print line
        }' "$project/cli/thinbd.1.scd" | sort -u
}

verbs_of_help() { "$thinbd" --help | sed -n '/^Verbs:/,/^$/s/^  \([-a-z]*\) .*/\1/p' | sort; }

verbs_of_manual() {
    sed -n '/^# VERBS/,/^# EXIT/s/^\*\([a-z][-a-z]*\)\*.*/\1/p' "$project/cli/thinbd.1.scd" | sort
}

proves "the verbs are the same"
diff <(verbs_of_help) <(verbs_of_manual) || fail "verbs: < --help, > manual"

for verb in $(verbs_of_help); do
    proves "the options of $verb are the same"
    diff <(options_of_help "$verb") <(options_of_manual "$verb") ||
        fail "$verb: < --help, > manual"
done

proves "the global options are the same"
diff <("$thinbd" --help | sed -n 's/^  \(--[-a-z]*\).*/\1/p' | sort) \
    <(sed -n '/^# OPTIONS/,/^# NAMES/s/^\*\(--[-a-z]*\)\*.*/\1/p' "$project/cli/thinbd.1.scd" |
        sort) || fail "globals: < --help, > manual"

proves "the plugin's parameters and debug flags are the same"
parameters() { grep -Eo '^\[?[-a-z]+=' | tr -d '[' | sort -u; }
diff <(nbdkit "$plugin" --help | parameters) \
    <(sed -n '/^# PARAMETERS/,/^# WHAT/s/^\*\([-a-z]*=\)\*.*/\1/p' \
          "$project/plugin/nbdkit-thin-plugin.1.scd" | sort) ||
    fail "parameters: < nbdkit --help, > manual"
for flag in io commit alloc; do
    grep -q "thin\.$flag=1" "$project/plugin/nbdkit-thin-plugin.1.scd" || fail "no $flag"
    quietly nbdkit -D "thin.$flag=1" "$plugin" --dump-plugin
done

proves "pool.conf's keys are the same in the example and in the manual"
diff <(sed -n 's/^\([a-z_]*\) = .*/\1/p' "$project/conf/pool.conf" | sort) \
    <(sed -n '/^# POOL.CONF/,/^# FILES/s/^\*\([a-z_]*\)\*.*/\1/p' \
          "$project/conf/thinbd.conf.5.scd" | sort) || fail "keys: < example, > manual"

requires scdoc man
proves "the pages are well-formed"
for page in "$project"/*/*.scd; do
    scdoc <"$page" >"$work/page" || fail "$page"
    man --warnings -E UTF-8 -l "$work/page" 2>"$work/warnings" >"$work/text"
    [ ! -s "$work/warnings" ] || fail "$page: $(cat "$work/warnings")"
done
