#!/usr/bin/env bats
# Flakes that try to read the host, to be somebody else, and to put their own words where a host reads them.
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree flakes
}
setup() { cd "$WORK" || return; }
teardown() { restore_config; }
teardown_file() { drop_machines; }

@test "readFile of the host's files: evaluation is pure, and a cell has none of them" {
    flake www='throw (builtins.readFile "/etc/passwd")'
    run -1 push main:www
    refused www "access to absolute path '/etc/passwd' is forbidden"
    # Twin: impure evaluation, which shows the cell's own.
    rewrite bwrap 's/^eval$/eval\x00--impure/'
    run -1 push main:www
    refused www "nix:x:1000:100:nix:/home:/bin/sh"
}
