#!/usr/bin/env bats
# One writer: whatever dies, hangs or is cut off, a volume that all hosts can open is written by one machine at a time, and what
# was synced stays. Guests count on a bare volume (counter.cpp), and who reads along keeps the history. Four machines run on one
# host, to which something is done; then they run on the next one.
load ../lib/one-writer
all=(a b c d)

setup_file() {
    load ../lib/one-writer
    work_tree owner
    remotes
    c++ -std=c++20 -O1 -static -o counter "$BATS_TEST_DIRNAME/counter.cpp"
    mkdir "$BATS_FILE_TMPDIR/history"
    local each
    counting "text of a"
    read_along "${all[@]}"
    only n1
    push_to n2 main:a main:b main:c main:d
    for each in "${all[@]}"; do eventually 60 counts_on "$each" 5; done
    only n1 n2 n3
}
setup() { cd "$WORK" || return; }
teardown() { # also of a case that failed
    [ -n "${HERE:-}" ] || return 0
    cluster heal "$HERE" || true
    cluster agent "$HERE" CONT 2>/dev/null || true
}
teardown_file() {
    local each
    for each in "$BATS_FILE_TMPDIR"/*.pid; do kill "$(cat "$each")" || true; done
    only n1 n2 n3
    cd "$WORK" || return 0
    git ls-remote n1 'refs/heads/*' | sed 's|.*refs/heads/|:refs/heads/|' | xargs -r git push -q n1 || true
}

@test "the host dies that led Nomad: its machines run elsewhere, with their data" {
    begin
    nomad_api PUT "operator/raft/transfer-leadership?address=$SKY_NET.255.$((10 + ${HERE#n})):4647" >/dev/null
    eventually 30 leads "$HERE"
    cluster kill "$HERE"
    all_moved
    [ "$(page_of a)" = "text of a" ]
    cluster start "$HERE"
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "cut off from all others, while a VM stands still, a supervisor is killed, a VM dies and one is pushed anew" {
    begin
    local standing
    cluster cut "$HERE" all
    standing=$(hypervisor b)
    kill -STOP "$standing"
    kill -KILL "$(hypervisor d)"
    on "$HERE" kill -KILL "$(supervisor c)"
    counting "new text of a"
    eventually 30 ready "$NEXT" # the leader that it listened to may be gone
    run -0 push_to "$NEXT" main:a
    run -0 cluster on "$NEXT" "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" reconcile
    all_moved
    [ "$(page_of a)" = "new text of a" ]
    [ ! -e "/proc/$standing" ]
    cluster heal "$HERE"
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "cut off from the servers alone, while its lease process is killed, its agent restarted, and a machine stopped" {
    begin
    cluster cut "$HERE" servers
    on "$HERE" pkill -KILL -f -- 'sky-vm-run .* lease$'
    cluster agent "$HERE" KILL
    cluster agent "$HERE" start
    eventually 30 ready "$NEXT"
    run -0 at "$NEXT" alice stop owner/d # its host can not say that it ended
    [ "$(field d)" = stopped ]
    all_moved a b c
    run -0 at "$NEXT" alice restart owner/d
    all_moved d
    cluster heal "$HERE"
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "cut off one way only" {
    begin
    cluster cut "$HERE" in
    all_moved
    cluster heal "$HERE"
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "the agent stands still, its machines live: they are given up, and go on elsewhere" {
    begin
    cluster agent "$HERE" STOP
    all_moved
    cluster agent "$HERE" CONT
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "the agent is killed, its machines live; so is the process that holds the lease" {
    begin
    cluster agent "$HERE" KILL
    on "$HERE" pkill -KILL -f -- 'sky-vm-run .* lease$'
    all_moved
    cluster agent "$HERE" start
    eventually 60 settled
    one_writer "${all[@]}"
}

@test "all servers are away: what lives by the lease ends and comes back, what does not lives on" {
    local each here l
    here=$(host_of a)
    counting "text of a" "l={ text = \"l\"; deployment.volumes.root = { size = 256; class = \"local\"; }; }"
    only "$here"
    run -0 push_to "$here" main:l
    l=$(hypervisor l)
    for each in "${all[@]}"; do generation "$each" >"$BATS_TEST_TMPDIR/$each"; done
    for each in n1 n2 n3; do cluster agent "$each" STOP; done
    for each in "${all[@]}"; do eventually 60 gone_here "$each"; done
    [ "$(hypervisor l)" = "$l" ]
    for each in n1 n2 n3; do cluster agent "$each" CONT; done
    for each in "${all[@]}"; do eventually 90 later "$each"; done
    one_writer "${all[@]}"
}

@test "the leader's agent dies: nothing stops that does not live by the lease" {
    local each here l leader
    here=$(host_of a)
    l=$(hypervisor l)
    leader=$(leader)
    if [ "$leader" = "$here" ]; then
        leader=n$((${here#n} % 3 + 1))
        nomad_api PUT "operator/raft/transfer-leadership?address=$SKY_NET.255.$((10 + ${leader#n})):4647" >/dev/null
        eventually 30 leads "$leader"
    fi
    ask "$here"
    eventually 90 can_lose_one
    cluster agent "$leader" KILL
    eventually 60 another_leads "$leader"
    for each in "${all[@]}"; do
        counted "$each" >"$BATS_TEST_TMPDIR/$each"
        eventually 90 counts_on "$each" "$(cat "$BATS_TEST_TMPDIR/$each")"
    done
    [ "$(hypervisor l)" = "$l" ]
    cluster agent "$leader" start
    one_writer "${all[@]}"
    run -0 push_to "$here" :l
}

# One thing that happens to a host, and how it ends.
happen() { # HOST WHAT
    case $2 in
    cut-*) cluster cut "$1" "${2#cut-}" ;;
    agent-*) cluster agent "$1" "${2#agent-}" ;;
    lease) on "$1" pkill -KILL -f -- 'sky-vm-run .* lease$' ;;
    supervisor) on "$1" pkill -KILL -f -- "sky-vm-run .* run $(account "$TENANT").$REPO.[a-d]\$" ;;
    vm-*) kill "-${2#vm-}" "$(hypervisor "${all[RANDOM % 4]}")" ;;
    esac
}
recover() { # HOST
    cluster heal "$1"
    cluster agent "$1" CONT || cluster agent "$1" start
}

# bats test_tags=rounds
@test "anything in any order: random rounds" {
    local seed=${SKY_SEED:-$RANDOM} rounds=${SKY_ROUNDS:-3} round host what each
    local things=(cut-all cut-servers cut-in cut-out agent-STOP agent-KILL lease supervisor vm-STOP vm-KILL)
    echo "# seed $seed (again: SKY_SEED=$seed)" >&3
    only n1 n2 n3
    RANDOM=$seed
    for ((round = 1; round <= rounds; round++)); do
        host=$(host_of "${all[RANDOM % 4]}")
        ask n$((${host#n} % 3 + 1))
        eventually 90 can_lose_one
        for ((n = RANDOM % 3; n >= 0; n--)); do
            what=${things[RANDOM % ${#things[@]}]}
            echo "# round $round: $host $what" >&3
            happen "$host" "$what" || true # what is dead already can not die
            sleep $((RANDOM % 4))
        done
        sleep $((RANDOM % 16))
        recover "$host"
        for each in n1 n2 n3; do eventually 60 ready "$each"; done
        for each in "${all[@]}"; do
            counted "$each" >"$BATS_TEST_TMPDIR/$each"
            kill -CONT "$(hypervisor "$each")" 2>/dev/null || true
            eventually 120 counts_on "$each" "$(cat "$BATS_TEST_TMPDIR/$each")"
        done
        one_writer "${all[@]}"
    done
}
