#!/usr/bin/env bats
# What shells offer behind a tool's name, made from what each tool's --help says.
# shellcheck disable=SC2154 # bats' run sets output
bats_require_minimum_version 1.5.0

made=$BATS_TEST_DIRNAME/../../doc/completion
tools="sky-shell sky-build sky-cache-push sky-nomad-submit sky-vm-run sky-net-setup"

# offered TOOL WORD...: what bash offers for the last word.
offered() {
    "$made" bash "$SKY_BIN/$1" >"$BATS_TEST_TMPDIR/$1"
    # shellcheck disable=SC2016 # for the other bash
    bash -c '. "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); "_${1//-/_}"; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$BATS_TEST_TMPDIR/$1" "$@"
}

@test "completion: bash offers each verb and option of --help, of nested verbs too" {
    local tool word
    for tool in $tools; do
        output=$(offered "$tool" '')
        for word in $("$SKY_BIN/$tool" --help | sed -nE 's/^  ((-[a-z],)?--[a-z-]+|[a-z][a-z-]+)  .*/\1/p' | tr , ' '); do
            grep -qxFe "$word" <<<"$output" || { echo "$tool: no $word" && return 1; }
        done
    done
    [ "$(offered sky-vm-run host-s)" = "host-setup
host-start" ]
    [ "$(offered sky-vm-run host-setup --un)" = --undo ]
    [ "$(offered sky-shell tenant key a)" = add ]
    [ "$(offered sky-vm-run storage i)" = init ]
    cd "$BATS_TEST_TMPDIR"
    : >some-file.json
    [ "$(offered sky-vm-run --config some-f)" = some-file.json ]
}

@test "completion: zsh and fish take theirs, and fish answers" {
    local tool
    for tool in $tools; do
        "$made" zsh "$SKY_BIN/$tool" >"$BATS_TEST_TMPDIR/_$tool"
        zsh -n "$BATS_TEST_TMPDIR/_$tool"
        "$made" fish "$SKY_BIN/$tool" >"$BATS_TEST_TMPDIR/$tool.fish"
        fish -n "$BATS_TEST_TMPDIR/$tool.fish"
    done
    export HOME=$BATS_TEST_TMPDIR
    # shellcheck disable=SC2016 # fish's
    complete() { fish -c 'source $argv[1]; complete -C $argv[2]' "$BATS_TEST_TMPDIR/$1.fish" "$2" | cut -f1 | sort | xargs; }
    [ "$(complete sky-vm-run 'sky-vm-run host-s')" = "host-setup host-start" ]
    [ "$(complete sky-shell 'sky-shell tenant key ')" = "add list rm" ]
    [ "$(complete sky-vm-run 'sky-vm-run host-setup --u')" = --undo ]
}

@test "completion: what is no tool makes none" {
    run -65 "$made" bash /bin/false
    run -64 "$made" tcsh "$SKY_BIN/sky-shell"
}
