#!/usr/bin/env bats
# What sky-nomad-submit promises of a machine's job: where it may run, what replaces it and when, what puts it right again.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    BEGUN=$(date -u +%FT%TZ)
    export BEGUN
    work_tree rules
    remotes
}
setup() { cd "$WORK" || return; }
teardown_file() {
    cd "$WORK" || return 0
    git ls-remote n1 'refs/heads/*' | sed 's|.*refs/heads/|:refs/heads/|' | xargs -r git push -q n1 || true
}

job() { nomad_api GET "job/$(account alice).rules.$1?namespace=sky-$(account alice)"; }
allocations() { nomad_api GET "job/$(account alice).rules.$1/allocations?all=true&namespace=sky-$(account alice)"; }
operator() { on n1 env NOMAD_TOKEN="$(cat "$SKY_HOST/tokens/operator")" "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" "$@"; }
local_site() { site "$1" "deployment = { volumes.root = { size = 256; class = \"local\"; }; ${2:-} };"; }

@test "a machine with a local volume is held to the host that made it, without a restart" {
    machines db="$(local_site "one of db")"
    run -0 push_to n1 main:db
    is_up db
    home=$(host_of db)
    [ "$(jq -r --arg m "$(account alice).rules.db" '.machines[$m].volumes.root.host' "$SKY_HOST/shared/registry.json")" = "$home" ]
    run -0 job db
    jq -e --arg home "$home" '.Constraints == [{LTarget: "${node.unique.name}", RTarget: $home, Operand: "="}] and
        (.TaskGroups[0].Disconnect | .Replace == false and .LostAfter > 3e17)' <<<"$output"
    [ "$(allocations db | jq 'map(select(.DesiredStatus == "run")) | length')" = 1 ]
    [ "$(page_of db starts | wc -l)" = 1 ]
}

@test "a push of the same system changes nothing of its job" {
    local before
    before=$(job db | jq -c '[.Version, .JobModifyIndex]')
    git commit -q --allow-empty -m "the same machine"
    run -0 push_to n2 main:db
    says 'not restarted'
    [ "$(job db | jq -c '[.Version, .JobModifyIndex]')" = "$before" ]
}

@test "a machine that does not get ready is held back, and reconcile leaves it so" {
    local good allocs config
    good=$(git rev-parse HEAD)
    machines db="$(local_site "two of db" "ready.tcp = 81;")"
    config=$SKY_HOST/hosts/n1/etc/config.json
    cp "$config" "$BATS_TEST_TMPDIR/config"
    jq '.machine.ready_s = 30' "$BATS_TEST_TMPDIR/config" >"$config"
    run push_to n1 main:db
    cat "$BATS_TEST_TMPDIR/config" >"$config" # in place: a mount of the file is what the host sees
    [ "$status" -ne 0 ]
    says 'held back'
    is_up db
    [ "$(page_of db)" = "one of db" ]
    [ "$(field db .rev)" = "$good" ]
    [ "$(field db .branch)" = "$(git rev-parse HEAD)" ]
    [[ $(field db .why) == *'held back'* ]]
    allocs=$(allocations db | jq -c 'map(.ID) | sort')
    run operator reconcile
    [ "$(field db .rev)" = "$good" ]
    [ "$(allocations db | jq -c 'map(.ID) | sort')" = "$allocs" ]
    machines db="$(local_site "three of db")"
    run -0 push_to n2 main:db
    [ "$(page_of db)" = "three of db" ]
    [ "$(field db .why)" = null ]
}

@test "a machine that its host kills while it starts is waited for, and not held back" {
    local home file push
    home=$(host_of db)
    file=$SKY_HOST/hosts/$home/state/vm/$(account alice).rules.db/running.json
    machines db="$(local_site "four of db")"
    push_to n1 main:db >"$BATS_TEST_TMPDIR/push" 3>&- &
    push=$!
    begun() { jq -e --arg rev "$(git rev-parse HEAD)" '.begun and .spec.rev == $rev' "$file"; }
    eventually 120 begun
    on "$home" kill -KILL "$(jq .guard "$file")"
    wait "$push" || { cat "$BATS_TEST_TMPDIR/push"; false; }
    grep 'db: the machine was killed' "$BATS_TEST_TMPDIR/push"
    is_up db
    [ "$(page_of db)" = "four of db" ]
    [ "$(field db .why)" = null ]
    [ "$(field db .rev)" = "$(git rev-parse HEAD)" ]
}

@test "reconcile finishes what somebody else undid, and ends what nobody asked for" {
    nomad_api DELETE "job/$(account alice).rules.db?namespace=sky-$(account alice)"
    nomad_api PUT "jobs?namespace=sky-$(account alice)" "$(job db | jq -c --arg id "$(account alice).rules.ghost" \
        '{Job: (.ID = $id | .Name = $id | .Stop = false | .TaskGroups[0].Tasks[].Config = {command: "/bin/sleep", args: ["1000"]}
            | .TaskGroups[0].Tasks[1].Config = {command: "/bin/true"})}')"
    run -0 operator reconcile --dry-run
    says "start $(account alice)/rules/db"
    says "stop $(account alice)/rules/ghost"
    job ghost | jq -e '.Stop | not'
    run -0 operator reconcile
    is_up db
    [ "$(page_of db)" = "four of db" ]
    job ghost | jq -e .Stop
    run -0 operator reconcile --dry-run
    says_not '----->'
}

@test "a machine whose volumes lie on a lost host waits for it, says so, and comes back with them" {
    local home
    home=$(host_of db)
    eventually 90 can_lose_one
    cluster kill "$home"
    other=$([ "$home" = n2 ] && echo n3 || echo n2)
    waits() { [[ $(HOST_NOW=$other field db .why) == *"waits for $home, which has its volumes"* ]]; }
    API_HOST=$other HOST_NOW=$other eventually 60 waits
    [ "$(API_HOST=$other allocations db | jq 'map(select(.DesiredStatus == "run")) | length')" = 1 ]
    cluster start "$home"
    back() { [ "$(HOST_NOW=$other field db)" = running ] && [ "$(HOST_NOW=$other page_of db)" = "four of db" ]; }
    HOST_NOW=$other eventually 120 back
    [ "$(HOST_NOW=$other host_of db)" = "$home" ]
}

@test "a drained host's machines move one by one, and it takes none until it is undrained" {
    local from
    machines db="$(local_site "four of db")" www="$(site "one of www")"
    run -0 push_to n1 main:www
    from=$(host_of www)
    run operator drain "$from" --dry-run
    says "$(account alice)/rules/www would leave $from"
    run -0 operator drain "$from" --deadline 200
    says "rules/www is up on n"
    says "$from is empty"
    [ "$(host_of www)" != "$from" ]
    [ "$(page_of www starts | wc -l)" = 2 ]
    nomad_api GET nodes | jq -e --arg n "$from" '.[] | select(.Name == $n) | .SchedulingEligibility == "ineligible"'
    run -0 operator undrain "$from"
    nomad_api GET nodes | jq -e 'all(.[] | select(.Status == "ready"); .SchedulingEligibility == "eligible")' # others left before
}

@test "usage counts what was granted, for the operator alone" {
    run -0 operator usage --since "$BEGUN" --json
    jq -es --arg t "$(account alice)" '.[] | select(.tenant == $t) | .vcpu_s > 0 and .mem_mib_s > 190 and .disk_mib_s > 256' <<<"$output"
    jq -es --arg t "$(account bob)" '.[] | select(.tenant == $t) | .vcpu_s == 0' <<<"$output"
    run on n1 setpriv --reuid "$SKY_PREFIX-alice" --clear-groups "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" usage
    [ "$status" -ne 0 ]
}
