#!/usr/bin/env bats
# Where machines run: away from a host in time, where the operator and the tenant want them, and not where a lost host would
# leave no room.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree places
    remotes
    jq . "$SKY_HOST/hosts/n1/etc/config.json" >"$BATS_FILE_TMPDIR/config"
}
setup() { cd "$WORK" || return; }
teardown() { # also of a case that failed
    only n1 n2 n3
    policy .
    drop_all
}

operator() { on n1 env NOMAD_TOKEN="$(cat "$SKY_HOST/tokens/operator")" "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" "$@"; }
# What n1, where all is pushed to, is told beside its configuration; in place, as a mount lies on the file.
policy() { # FILTER
    jq --arg t "$(account alice)" "$1" "$BATS_FILE_TMPDIR/config" >"$BATS_TEST_TMPDIR/config"
    cat "$BATS_TEST_TMPDIR/config" >"$SKY_HOST/hosts/n1/etc/config.json"
}
placed() { site "$1" "deployment = { mem = 128; placement = { $2 }; };"; }
elsewhere() { [ "$(host_of "$1")" != n1 ] && is_up "$1"; }

@test "a drain whose deadline is over: what is left is shut down at once, comes up elsewhere, and it says so" {
    local each notes="run = \"(trap 'echo >>/var/lib/site/stops; exit' TERM; while :; do sleep 60; done) &\";"
    machines x="$(site x "$notes")" y="$(site y "$notes")"
    only n1
    run -0 push_to n1 main:x main:y
    only n1 n2 n3
    run -1 operator drain n1 --deadline 1
    says "places/x is not up elsewhere yet"
    says "places/y leaves n1 with all that is left: the deadline is over"
    says "n1 is empty"
    for each in x y; do
        eventually 120 elsewhere "$each"
        [ "$(page_of "$each" starts | wc -l)" = 2 ]
        [ "$(page_of "$each" stops | wc -l)" = 1 ]
    done
    run -0 operator undrain n1
}

@test "where the operator wants machines, and where a tenant may ask for: constraints, affinities, spreads, not on one host" {
    # shellcheck disable=SC2016 # Nomad's
    local places='.nomad.placements = {
        default: {spreads: [{attribute: "${node.unique.name}", weight: 70}]},
        two: {constraints: [{attribute: "${node.unique.name}", operator: "=", value: "n2"}]},
        toward: {affinities: [{attribute: "${node.unique.name}", operator: "!=", value: "n2", weight: -100}]}}'
    machines a="$(placed a "")" b="$(placed b 'ask = [ "two" ];')" c="$(placed c 'ask = [ "toward" ];')" \
        d="$(placed d 'ask = [ "toward" ]; apart = [ "a" "b" ];')"
    policy "$places | .tenants[\$t].placement = {placed: [\"two\"], may_ask: [\"toward\"]}"
    run -1 push_to n1 main:a main:b
    says "placement: asked 'two', allowed 'toward'"
    [ "$(host_of a)" = n2 ]
    nomad_api GET "job/$(account alice).places.a?namespace=sky-$(account alice)" | jq -e '.Spreads[0].Weight == 70'
    policy "$places | .tenants[\$t].placement = {may_ask: [\"two\", \"toward\"]}"
    run -0 push_to n1 main:b main:c main:d
    [ "$(host_of b)" = n2 ]
    [ "$(host_of c)" = n2 ]
    [ "$(host_of d)" != n2 ]
    is_up d
}

@test "N+1: two of three hosts take two large machines; the third machine is refused, with the numbers, or warned of" {
    local each mib said
    machines p="$(site p 'deployment.mem = 2700;')" q="$(site q 'deployment.mem = 2700;')" r="$(site r 'deployment.mem = 2700;')"
    policy '.nomad.spare = "refuse"'
    run -0 push_to n1 main:p main:q
    mib=$(nomad_api GET "allocations?resources=true&namespace=sky-$(account alice)" |
        jq '[.[] | select(.ClientStatus == "running") | [.AllocatedResources.Tasks[].Memory.MemoryMB] | max] | max')
    said="must not die: mem_mib: asked $mib, used $((2 * mib)), allowed 8192"
    run -1 push_to n1 main:r
    says "n1 $said"
    nomad_api GET "allocations?namespace=sky-$(account alice)" | jq -e 'all(.[]; .JobID | endswith(".r") | not)'
    policy '.nomad.spare = "warn"'
    run -0 push_to n1 main:r
    says "warning: r: n1 must not die"
    is_up r
    [ "$(places | wc -l)" = 3 ]
}
