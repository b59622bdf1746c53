#!/usr/bin/env bats
# What every machine was given stands in Nomad's variables; the file in the shared directory is a copy.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree registry # alice's repo, that nothing is pushed to
}
teardown() { # also of a case that failed
    local path
    cluster heal n1 || true
    for path in $(of_repo | jq -r 'keys[]'); do
        jq -nc --arg p "$path" '$p / "." | {v: 1, tenant: .[0], repo: .[1], machine: .[2], forget: true}' |
            vm n2 stop >/dev/null
    done
}

config() { [ -n "${MANY:-}" ] && echo "$SKY_HOST/etc/many-$1.json" || echo "$SKY_CONFIG"; }
vm() { # HOST VERB [ARGUMENT...]
    on "$1" "$SKY_HOST/usr/bin/sky-vm-run" --config "$(config "$1")" "${@:2}"
}
request() { # MACHINE...: of alice, or TENANT
    jq -nc --arg t "$(account "${TENANT:-alice}")" '{v: 1, tenant: $t, repo: "registry", machines: $ARGS.positional}' --args -- "$@"
}
of_repo() { # its machines, and those of bob's of that name
    jq -c '.machines | with_entries(select(.key / "." | .[1] == "registry"))' "$COPY"
}
head_of() { nomad_api GET 'var/sky/registry/head?namespace=skyflake' | jq -c '.Items.json | fromjson'; }
same() { [ "$(jq -c .commit "$COPY")" = "$(head_of | jq -c .commit)" ] && [ "$(jq -S .machines "$COPY")" = "$(nomads)" ]; }
nomads() { head_of | jq -S '.registry.machines'; }
each_once() { [ -z "$(jq '.machines[].uid' "$COPY" | sort | uniq -d)" ]; }
parts() { nomad_api GET 'vars?prefix=sky/registry/part/&namespace=skyflake' | jq length; }
finding() { # HOST: doctor's, of the registry
    { vm "$1" doctor --json || [ $? = 1 ]; } | jq -r 'select(.check == "registry") | "\(.state) \(.text)"'
}
# Who registers one more machine is killed at each of its words in turn: all of the change is done, or nothing, and others go on.
writers_killed() { # [CHECK]: holds after each
    local k uid
    for k in {1..60}; do
        request "killed$k" >"$BATS_TEST_TMPDIR/request"
        run on n1 strace -qq -f -o /dev/null -e trace=sendto,write,rename -e "inject=sendto,write,rename:signal=KILL:when=$k" \
            "$SKY_HOST/usr/bin/sky-vm-run" --config "$(config n1)" register <"$BATS_TEST_TMPDIR/request"
        uid=$(request "killed$k" | vm n2 register | jq .uid)
        [ "$(request "killed$k" | vm n3 register | jq .uid)" = "$uid" ]
        each_once
        "${1:-true}"
        [ "$status" != 0 ] || break
        [ "$status" = 137 ]
    done
    [ "$status" = 0 ]
    [ "$k" -gt 4 ]
    [ "$(of_repo | jq 'keys | map(select(test("[.]killed"))) | length')" = "$k" ]
}
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
    [[ $(finding n3) == "warning its copy in the shared directory is behind" ]]
    request three | vm n3 register >"$BATS_TEST_TMPDIR/third"
    each_once
    [ "$(of_repo | jq length)" = 3 ]
    request two | vm n1 register | cmp - "$BATS_TEST_TMPDIR/second"
    same
    [[ $(finding n3) == "good "*" machines" ]]
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
    writers_killed same
}

# A variable of Nomad's holds 64 KiB.
@test "a registry that does not fit into one variable lies in parts, killed writers or not; gc sweeps, and it fits again" {
    local host MANY=1
    for host in n1 n2 n3; do on "$host" jq '.tenants[].quota.machines = 400' "$SKY_CONFIG" >"$(config "$host")"; done
    mapfile -t names < <(printf "m%s$(printf 'x%.0s' {1..36})\n" {100..299})
    request "${names[@]}" | vm n1 register >"$BATS_TEST_TMPDIR/all"
    TENANT=bob request "${names[@]:0:150}" | vm n2 register >>"$BATS_TEST_TMPDIR/all"
    [ "$(jq -s 'map(select(.error == null)) | length' "$BATS_TEST_TMPDIR/all")" = 350 ]
    [ "$(wc -c <"$COPY")" -gt 60000 ]
    head_of | jq -e 'has("registry") | not'
    [ "$(parts)" -gt 1 ]
    each_once
    mv "$COPY" "$BATS_TEST_TMPDIR/now"
    vm n3 registry | cmp - "$BATS_TEST_TMPDIR/now"
    cmp "$COPY" "$BATS_TEST_TMPDIR/now"
    [ "$(of_repo | jq length)" = 350 ]
    writers_killed
    teardown # one after the other
    [ "$(of_repo | jq length)" = 0 ]
    head_of | jq -e 'has("registry")'
    [ "$(parts)" -gt 0 ]
    vm n1 gc >/dev/null
    [ "$(parts)" = 0 ]
    same
}
