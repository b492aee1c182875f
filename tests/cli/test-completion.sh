#!/usr/bin/env bash
# bash completion: what Tab offers.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

make_pool
folder=$pool
t create vm1 --size 1M >"$work/output"
t create web --size 1M >"$work/output"
t snapshot vm1 vm1@mon >"$work/output"
export THINBD_POOL=$folder
# shellcheck source=../../cli/thinbd.bash
. "$project/cli/thinbd.bash"

# offers LINE REPLY...
offers() {
    COMP_LINE=$1
    COMP_POINT=${#1}
    # shellcheck disable=SC2034 # the function's
    COMP_WORDS=("$thinbd")
    COMPREPLY=()
    shift
    _thinbd
    expect "'$COMP_LINE'" "$*" "${COMPREPLY[*]}"
}

offers "thinbd cr" create
offers "thinbd --p" --pool
offers "thinbd create --rea" --readonly
offers "thinbd create --re" --readonly --reserve
offers "thinbd init --" --data-size --block-size --metadata-size --data --metadata --set \
    --force --if-not-exists --pool --config --json --help --version
offers "thinbd show " vm1 vm1@mon web
offers "thinbd show w" web
# readline has cut the word at '@'.
offers "thinbd show vm1@" mon
offers "thinbd --pool /nowhere show w"
offers "thinbd status v"
offers "thinbd dump --format j" json
offers "thinbd create --origin $folder/po" "$folder/pool.conf"
