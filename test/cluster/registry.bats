#!/usr/bin/env bats
# What every machine was given stands in Nomad's variables; the file in the shared directory is a copy.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree registry # alice's repo, that nothing is pushed to
}
teardown() { # also of a case that failed
    local machine
    cluster heal n1 || true
    for machine in $(of_repo | jq -r 'keys[] | split(".")[2]'); do
        jq -nc --arg t "$(account alice)" --arg m "$machine" '{v: 1, tenant: $t, repo: "registry", machine: $m, forget: true}' |
            vm n2 stop >/dev/null
    done
}

vm() { # HOST VERB [ARGUMENT...]
    on "$1" "$SKY_HOST/usr/bin/sky-vm-run" --config "$SKY_CONFIG" "${@:2}"
}
request() { # MACHINE...
    jq -nc --arg t "$(account alice)" '{v: 1, tenant: $t, repo: "registry", machines: $ARGS.positional}' --args -- "$@"
}
of_repo() { # its machines
    jq -c --arg p "$(account alice).registry." '.machines | with_entries(select(.key | startswith($p)))' "$COPY"
}
head_of() { nomad_api GET 'var/sky/registry/head?namespace=skyflake' | jq -c '.Items.json | fromjson'; }
same() { [ "$(jq -c .commit "$COPY")" = "$(head_of | jq -c .commit)" ] && [ "$(jq -S .machines "$COPY")" = "$(nomads)" ]; }
nomads() { head_of | jq -S '.registry.machines'; }
each_once() { [ -z "$(jq '.machines[].uid' "$COPY" | sort | uniq -d)" ]; }
setup() { COPY=$SKY_HOST/shared/registry.json; }

@test "three hosts give out what there is at once: nothing twice, and Nomad and the copy say the same" {
    local host k writers=()
    for host in n1 n2 n3; do
        for k in 1 2 3 4; do request "$host-a$k" "$host-b$k" | vm "$host" register >"$BATS_TEST_TMPDIR/$host.$k"; done &
        writers+=($!)
    done
    wait "${writers[@]}"
    [ "$(cat "$BATS_TEST_TMPDIR"/n* | jq -r 'select(.error == null) | .uid' | sort -u | wc -l)" = 24 ]
    [ "$(of_repo | jq length)" = 24 ]
    each_once
    same
}

@test "a copy that is gone, or behind, comes from Nomad; nothing is given out anew" {
    request one | vm n1 register >"$BATS_TEST_TMPDIR/first"
    cp -p "$COPY" "$BATS_TEST_TMPDIR/old"
    request two | vm n2 register >"$BATS_TEST_TMPDIR/second"
    cp "$COPY" "$BATS_TEST_TMPDIR/now"
    rm "$COPY"
    vm n3 registry | cmp - "$BATS_TEST_TMPDIR/now"
    cmp "$COPY" "$BATS_TEST_TMPDIR/now"
    [ "$(stat -c '%U:%G %a' "$COPY")" = "root:$SKY_PREFIX-deploy 640" ]
    cp -p "$BATS_TEST_TMPDIR/old" "$COPY" # as from a backup
    request three | vm n3 register >"$BATS_TEST_TMPDIR/third"
    each_once
    [ "$(of_repo | jq length)" = 3 ]
    request two | vm n1 register | cmp - "$BATS_TEST_TMPDIR/second"
    same
}

@test "a host that does not reach Nomad prints the registry, and changes nothing" {
    request one | vm n2 register >/dev/null
    cp "$COPY" "$BATS_TEST_TMPDIR/now"
    cluster cut n1 servers
    vm n1 registry | cmp - "$BATS_TEST_TMPDIR/now"
    run -69 vm n1 register < <(request another)
    cmp "$COPY" "$BATS_TEST_TMPDIR/now"
    request one | vm n1 register # no change
}

@test "who writes the registry is killed at any of its words: all of the change is done, or nothing, and others go on" {
    local k uid
    for k in {1..60}; do
        request "killed$k" >"$BATS_TEST_TMPDIR/request"
        run on n1 strace -qq -f -o /dev/null -e trace=sendto,write,rename -e "inject=sendto,write,rename:signal=KILL:when=$k" \
            "$SKY_HOST/usr/bin/sky-vm-run" --config "$SKY_CONFIG" register <"$BATS_TEST_TMPDIR/request"
        uid=$(request "killed$k" | vm n2 register | jq .uid)
        [ "$(request "killed$k" | vm n3 register | jq .uid)" = "$uid" ]
        each_once
        same
        [ "$status" != 0 ] || break
        [ "$status" = 137 ]
    done
    [ "$status" = 0 ]
    [ "$k" -gt 4 ]
}
