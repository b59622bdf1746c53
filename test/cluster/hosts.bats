#!/usr/bin/env bats
# Hosts that come, go, and get a new agent while machines run. With a host's missing heartbeats forgiven for 20 s, as
# agents' restarts need; the others' 4 s is for hosts that die.
load ../lib/cluster

setup_file() {
    load ../lib/cluster
    work_tree many
    remotes
    forgive 20s
}
setup() { cd "$WORK" || return; }
teardown_file() {
    drop_all
    cluster kill n4
    rm -rf "$SKY_HOST/hosts/n4"
    forgive 4s
}

node_is() { nomad_api GET nodes | jq -e --arg n "$1" --arg s "$2" 'any(.[]; .Name == $n and .Status == $s and .Drivers.raw_exec.Healthy)' >/dev/null; }
# A node stays ready for a while whose agent is not back yet: until then it is given machines, and they are taken away again.
beats() { API_HOST=$1 nomad_api GET agent/self | jq -e '.stats.client.heartbeat_ttl | . != null and . != "0s"' >/dev/null; }
agent_runs() { on "$1" kill -0 "$(cat "$SKY_HOST/hosts/$1/run/nomad.pid")" 2>/dev/null; }
agent_is_gone() { ! agent_runs "$1"; }
restart_agent() { # HOST SIGNAL
    cluster agent "$1" "$2"
    eventually 30 agent_is_gone "$1"
    cluster agent "$1" start
    API_HOST=$1 eventually 60 node_is "$1" ready
    eventually 60 beats "$1"
    API_HOST=$1 eventually 90 can_lose_one
}
forgive() { # GRACE
    local host config
    for host in n1 n2 n3; do
        config=$SKY_HOST/hosts/$host/agent.json
        jq --arg g "$1" '.server.heartbeat_grace = $g' "$config" >"$config.new" && mv "$config.new" "$config"
        cluster agent "$host" INT
    done
    for host in n1 n2 n3; do
        eventually 30 agent_is_gone "$host"
        cluster agent "$host" start
    done
    for host in n1 n2 n3; do
        eventually 90 node_is "$host" ready
        eventually 90 beats "$host"
    done
}
# What runs, and as which processes and allocations: what a restart of agents leaves alone.
alive() {
    local machine
    for machine in $(at n1 alice status many --json | jq -r '.machine | split("/")[1]'); do
        echo "$machine $(processes_of_uid "$(machine_uid "$machine")" | tr '\n' ' ')"
    done
    nomad_api GET "allocations?namespace=sky-$(account alice)" | jq -r '.[] | select(.ClientStatus == "running") | .ID' | sort
}
node_id() { nomad_api GET nodes | jq -re --arg n "$1" '.[] | select(.Name == $n and .Status != "down") | .ID'; }
drain() { nomad_api POST "node/$(node_id "$1")/drain" '{"DrainSpec":{"Deadline":600000000000}}'; }
undrain() { nomad_api POST "node/$(node_id "$1")/drain" '{"MarkEligible":true}'; }
# Machines go to this host alone, or to any: Nomad looks at a few hosts that have room, not at the emptiest of all.
only() { # [HOST]
    local host
    for host in n1 n2 n3; do
        nomad_api POST "node/$(node_id "$host")/eligibility" \
            "{\"Eligibility\":\"$([ "${1:-$host}" = "$host" ] && echo eligible || echo ineligible)\"}" >/dev/null
    done
}
@test "twelve machines in one push run, on every host some" {
    local n asked=() branches=()
    for n in {1..12}; do
        asked+=("m$n=$(site "machine $n" 'deployment.mem = 128;')")
        branches+=("main:m$n")
    done
    machines "${asked[@]}"
    run -0 push_to n2 "${branches[@]}"
    [ "$(places n3 | awk '{ n += $1 } END { print n }')" = 12 ]
    [ "$(places n1 | wc -l)" = 3 ]
    for n in 1 7 12; do [ "$(page_of "m$n")" = "machine $n" ]; done
    git push -q n1 :m4 :m5 :m6 :m7 :m8 :m9 :m10 :m11 :m12
    [ "$(places n3 | awk '{ n += $1 } END { print n }')" = 3 ]
}

@test "an agent that is killed and comes back finds its machines as they were" {
    local before host
    host=$(host_of m1) before=$(alive)
    restart_agent "$host" KILL
    [ "$(alive)" = "$before" ]
    is_up m1
    [ "$(page_of m1)" = "machine 1" ]
}

# From an older Nomad, where SKY_NOMAD_FROM is one: else each is the one that it was.
@test "one agent after the other is replaced while machines run, and no machine notices" {
    local before host nomad
    nomad=$(sed -n 's/.* NOMAD=//p' "$SKY_HOST/host.env")
    before=$(alive)
    for host in n1 n2 n3; do
        ln -sfn "$nomad" "$SKY_HOST/hosts/$host/agent"
        restart_agent "$host" INT
    done
    [ "$(alive)" = "$before" ]
    [ "$(nomad_api GET agent/members | jq -r '.Members[].Tags.build' | sort -u)" = "$("$nomad" version | sed -n 's/^Nomad v//p')" ]
    for host in m1 m2 m3; do is_up "$host"; done
}

@test "a fourth host joins, is pushed to and takes machines" {
    cluster start n4
    eventually 60 node_is n4 ready
    only n4
    machines m1="$(site "machine 1" 'deployment.mem = 128;')" new="$(site "on the new one" 'deployment.mem = 1024;')"
    run -0 push_to n4 main:new main:m1
    only
    [ "$(host_of new)" = n4 ]
    [ "$(page_of new)" = "on the new one" ]
    HOST_NOW=n4 is_up new
}

@test "a host that is drained gives its machines to others, and undrained takes machines again" {
    local host
    host=$(host_of m2)
    drain "$host"
    left() { [ "$(host_of m2)" != "$host" ] && is_up m2; }
    eventually 240 left
    undrain "$host"
    only "$host"
    machines m2="$(site "machine 2" 'deployment.mem = 128;')" back="$(site "back" 'deployment.mem = 1024;')"
    run -0 push_to n1 main:back
    only
    [ "$(host_of back)" = "$host" ]
}
