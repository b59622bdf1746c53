#!/usr/bin/env bats
# Manual pages, made from what each tool's --help says.
bats_require_minimum_version 1.5.0

man=$BATS_TEST_DIRNAME/../../doc/man

@test "man: a page per tool, that groff takes without a warning, with every verb and option of --help" {
    local tool word
    for tool in sky-shell sky-build sky-cache-push sky-nomad-submit sky-vm-run sky-net-setup; do
        "$man" "$SKY_BIN/$tool" >"$BATS_TEST_TMPDIR/$tool.1"
        groff -man -Tutf8 -ww -P-cbou "$BATS_TEST_TMPDIR/$tool.1" >"$BATS_TEST_TMPDIR/$tool.txt" 2>"$BATS_TEST_TMPDIR/said"
        [ ! -s "$BATS_TEST_TMPDIR/said" ] || { cat "$BATS_TEST_TMPDIR/said" && return 1; }
        for word in $("$SKY_BIN/$tool" --help | sed -nE 's/^  ((-[a-z],)?--[a-z-]+|[a-z][a-z-]+)  .*/\1/p'); do
            [ "$word" = -h,--help ] || grep -qF -- "  $word " "$BATS_TEST_TMPDIR/$tool.txt" ||
                { echo "$tool: no $word" && return 1; }
        done
        for word in NAME SYNOPSIS OPTIONS "EXIT STATUS" FILES "SEE ALSO"; do grep -qx "$word" "$BATS_TEST_TMPDIR/$tool.txt"; done
    done
    grep -q '^sky-net-setup boundary$' "$BATS_TEST_TMPDIR/sky-net-setup.txt"
}

@test "man: what is no tool makes no page" {
    run ! "$man" /bin/false
}
