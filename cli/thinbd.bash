# bash completion for thinbd(1)                                -*- shell-script -*-
# What there is to complete comes from `thinbd --help` and `thinbd list`.

_thinbd_verbs() {
    "$1" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

# $1 = thinbd, $2 = verb or ""
_thinbd_options() {
    "$1" ${2:+"$2"} --help | sed -n 's/^  \(--[-a-z]*\) .*/\1/p'
}

# $1 = thinbd, $2 = verb: does it take volumes?
_thinbd_takes_volumes() {
    "$1" "$2" --help | head -n 1 | grep -Eqw 'NAME|OLD|SOURCE'
}

# $1 = thinbd, then the options that say which pool
_thinbd_volumes() {
    "$@" list 2>/dev/null | sed -n '2,$s/ .*//p'
}

_thinbd() {
    local thinbd=${COMP_WORDS[0]} line=${COMP_LINE:0:COMP_POINT}
    local words word verb='' pool=() cur prev i reply=''
    # Not COMP_WORDS: that is cut at '@' and '='.
    read -ra words <<<"$line"
    cur='' prev=${words[-1]}
    if [[ $line != *[[:space:]] ]]; then
        cur=${words[-1]}
        prev=${words[-2]-}
        unset 'words[-1]'
    fi
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
        case $word in
            --pool | --config)
                pool=("$word" "${words[i + 1]-}")
                i=$((i + 1))
                ;;
            --pool=* | --config=*) pool=("$word") ;;
            -*) ;;
            *) verb=${verb:-$word} ;;
        esac
    done
    case $prev in
        --pool) reply=$(compgen -d -- "$cur") || : ;;
        --config | --origin | --data | --metadata) reply=$(compgen -f -- "$cur") || : ;;
        --format) reply=$(compgen -W 'thin json' -- "$cur") || : ;;
        *)
            if [[ $cur == -* ]]; then
                reply=$(compgen -W "$(_thinbd_options "$thinbd" "$verb")" -- "$cur") || :
            elif [[ -z $verb ]]; then
                reply=$(compgen -W "$(_thinbd_verbs "$thinbd")" -- "$cur") || :
            elif _thinbd_takes_volumes "$thinbd" "$verb"; then
                reply=$(compgen -W "$(_thinbd_volumes "$thinbd" "${pool[@]}")" -- "$cur") || :
            fi
            ;;
    esac
    mapfile -t COMPREPLY <<<"$reply"
    [[ -n $reply ]] || COMPREPLY=()
    # Of a name with '@' readline replaces what follows that.
    if [[ $cur == *@* && $COMP_WORDBREAKS == *@* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*@}"}"}")
    fi
}

complete -o filenames -F _thinbd thinbd
