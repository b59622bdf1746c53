#!/usr/bin/env bats
# What dies: Nomad's leader in mid-push, the way to Nomad, a host.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree loss
    remotes
}
setup() { cd "$WORK" || return; }
teardown() { # also of a case that failed
    local host
    on n1 nft delete table inet cut 2>/dev/null || true
    for host in n1 n2 n3; do
        # shellcheck disable=SC2016 # for the shell over there
        ! on "$host" true 2>/dev/null || on "$host" bash -c 'kill -0 "$(cat "$1")"' bash "$SKY_HOST/hosts/$host/run/nomad.pid" 2>/dev/null ||
            cluster agent "$host" start
    done
}
teardown_file() {
    local host
    for host in n1 n2 n3; do cluster start "$host"; done # a dead one
    drop_all
}

# With no disk of its own it needs nothing of a lost host's.
diskless() { echo "{ text = \"$1\"; module = { lib, ... }: { deployment.volumes = lib.mkForce { }; fileSystems.\"/\" = { device = \"tmpfs\"; fsType = \"tmpfs\"; }; }; }"; }
leader() { API_HOST=${1:-n1} nomad_api GET status/leader | jq -re 'split(":")[0] | split(".")[3] | "n\(tonumber - 10)"'; }
node_is() { nomad_api GET nodes | jq -e --arg n "$1" --arg s "$2" 'any(.[]; .Name == $n and .Status == $s)' >/dev/null; }

@test "Nomad's leader dies in mid-push: the push gets there" {
    local first other line
    eventually 90 can_lose_one
    first=$(leader)
    for other in n1 n2 n3; do [ "$other" = "$first" ] || break; done
    machines www="$(site "one of www")"
    coproc PUSH { push_to "$other" main:www && echo pushed; }
    while read -r line <&"${PUSH[0]}"; do
        echo "$line"
        case $line in *'  built'*) break ;; esac
    done
    cluster agent "$first" KILL
    cat <&"${PUSH[0]}" >"$BATS_TEST_TMPDIR/push"
    cat "$BATS_TEST_TMPDIR/push"
    grep -qx pushed "$BATS_TEST_TMPDIR/push"
    HOST_NOW=$other is_up www
    [ "$(HOST_NOW=$other page_of www)" = "one of www" ]
    [ "$(leader "$other")" != "$first" ]
    cluster agent "$first" start
    eventually 60 node_is "$first" ready
}

@test "Nomad can not be reached: the branch is there, the push says so, and the next contact starts the machine" {
    machines www="$(site "two of www")"
    on n1 nft -f - <<<'table inet cut { chain out { type filter hook output priority -10; tcp dport 4646 reject with tcp reset; }; }'
    run -1 push_to n1 main:www
    says 'main -> www'
    says 'nomad does not answer'
    on n1 nft delete table inet cut
    [ "$(at n1 alice status loss/www --json | jq -r .branch)" = "$(git rev-parse HEAD)" ] # a contact
    two() { [ "$(page_of www)" = "two of www" ]; }
    eventually 120 two
}

@test "a host dies: nothing that was pushed is lost, and its machines without disks run elsewhere" {
    local victim other before
    machines www="$(site "two of www")" bare="$(diskless "nothing to lose")"
    run -0 push_to n2 main:bare main:www
    victim=$(host_of bare)
    for other in n1 n2 n3; do [ "$other" = "$victim" ] || break; done
    before=$(git ls-remote "$other")
    API_HOST=$other eventually 90 can_lose_one
    cluster kill "$victim"
    export HOST_NOW=$other
    elsewhere() { [ "$(host_of bare)" != "$victim" ] && test_field bare running && [ "$(page_of bare)" = "nothing to lose" ]; }
    eventually 120 elsewhere
    [ "$(git ls-remote "$other")" = "$before" ]
    # The others go on.
    git commit -q --allow-empty -m "after the death"
    run -0 push_to "$other" main:bare
    # It comes back to what runs elsewhere now.
    cluster start "$victim"
    API_HOST=$other eventually 60 node_is "$victim" ready
    [ "$(git ls-remote "$victim")" = "$(git ls-remote "$other")" ]
    elsewhere
    [ "$(processes_of_uid "$(machine_uid bare)" | wc -l)" = 1 ]
    eventually 120 is_up www
}
