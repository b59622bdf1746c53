#!/usr/bin/env bats
# A volume that all hosts can open, and somebody works on it on one of them: no other starts its machine meanwhile.
# shellcheck disable=SC2154 # bats' run sets output
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree volume
    remotes
    only n1
    machines www="$(site one)"
    push_to n1 main:www
}
setup() { cd "$WORK" || return; }
teardown_file() {
    only n1 n2 n3
    drop_all
}

volume() { on "$1" "$SKY_HOST/usr/bin/sky-vm-run" --config "$SKY_CONFIG" volume "${@:2}"; } # HOST VERB...
owner() { nomad_api GET "var/sky/owner/$(account "$TENANT")/$REPO/www?namespace=skyflake" | jq -r ".Items.json | fromjson | $1"; }
owner_is() { [ "$(owner .host)" = "$1" ] && [ "$(owner .released)" = "$2" ]; }
lives() { # NAME: on any host
    local host uid
    uid=$(machine_uid "$1")
    for host in n1 n2 n3; do
        ! on "$host" sh -c 'cat /proc/[0-9]*/status 2>/dev/null' |
            awk -v u="$uid" '/^State:/ { z = $2 == "Z" } /^Uid:/ && !z && $2 >= u && $2 < u + 4 { n = 1 } END { exit !n }' || return 0
    done
    return 1
}
asks_n2() { field www .why | grep -q 'n2'; }

@test "while a volume is imported on one host its machine starts on no other; after that it does" {
    local machine import in start
    machine=$(account "$TENANT").$REPO.www
    run -75 volume n2 export "$machine" root
    [[ $output == *"runs (stop it first)"* ]]
    sky stop "$REPO/www"
    volume n2 export "$machine" root >"$BATS_TEST_TMPDIR/copy"
    eventually 30 owner_is n2 true # whoever works on it lets go of it
    mkfifo "$BATS_TEST_TMPDIR/in"
    volume n2 import "$machine" root <"$BATS_TEST_TMPDIR/in" 3>&- &
    import=$!
    exec {in}>"$BATS_TEST_TMPDIR/in"
    cat "$BATS_TEST_TMPDIR/copy" >&"$in"
    eventually 30 owner_is n2 false
    run -75 volume n3 snapshot "$machine" root first # nor does anybody else work on it
    sky redeploy "$REPO/www" {in}>&- 3>&- >"$BATS_TEST_TMPDIR/start" &
    start=$!
    eventually 60 asks_n2
    sleep 5
    run ! lives www
    owner_is n2 false
    exec {in}>&-
    wait "$import"
    wait "$start"
    is_up www
    owner_is n1 false
    [ "$(page_of www)" = one ]
}
