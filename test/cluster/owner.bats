#!/usr/bin/env bats
# One writer: whatever dies, hangs or is cut off, a volume that all hosts can open is written by one machine at a time, and what
# was synced stays. Guests count on a bare volume (counter.cpp), and who reads along keeps the history. Four machines run on one
# host, to which something is done; then they run on the next one.
load ../lib/cluster
all=(a b c d)

setup_file() {
    load ../lib/cluster
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

# Machines whose second disk is one to count on.
counting() { # TEXT [MORE...]: of a; more machines
    local each flake=("${@:2}")
    for each in "${all[@]}"; do
        flake+=("$each={ text = \"$([ "$each" = a ] && echo "$1" || echo "text of $each")\";
            run = \"\${./counter} write /dev/vdb &\"; deployment.volumes.count.size = 1024; }")
    done
    machines "${flake[@]}"
}
read_along() { # NAME...
    local name
    for name; do
        : >"$(history_of "$name")"
        ./counter watch "$SKY_HOST/shared/volumes/$(account "$TENANT")/$REPO/$name/count.img" "$(history_of "$name")" 3>&- &
        echo $! >"$BATS_FILE_TMPDIR/$name.pid"
    done
}
history_of() { echo "$BATS_FILE_TMPDIR/history/$1"; }
generation() { tail -n 1 "$(history_of "$1")" | cut -d' ' -f1; }
counted() { wc -l <"$(history_of "$1")"; }
counts_on() { [ "$(counted "$1")" -gt "$2" ]; } # NAME LINES: it has written more than these
# No lower generation after a higher one, each count after the one before, and nothing gone.
one_writer() { # NAME...
    local name
    for name; do promised "one writer" whole_history "$name" || return; done
}
whole_history() { # NAME
    awk -v name="$1" '$2 == "gone" { print name ": lost " $3 " of " $1; exit 1 }
        $1 < last { print name ": " $1 " wrote " $2 " after " last; exit 1 }
        $1 > last && $2 != 0 || $1 == last && $2 != count { print name ": " $0 " instead of " count; exit 1 }
        { last = $1; count = $2 + 1 }' last=0 count=0 "$(history_of "$1")" >&2
}

ask() { export API_HOST=$1 HOST_NOW=$1; } # HOST: about everything from now on
# HERE has all of them; they shall go to NEXT, whom to ask meanwhile.
begin() {
    local each
    HERE=$(host_of a)
    case $HERE in n1) NEXT=n2 ;; n2) NEXT=n3 ;; *) NEXT=n1 ;; esac
    ask "$NEXT"
    only "$NEXT"
    for each in "${all[@]}"; do
        [ "$(host_of "$each")" = "$HERE" ]
        generation "$each" >"$BATS_TEST_TMPDIR/$each"
    done
}
moved() { # NAME: a later generation counts, on NEXT
    later "$1" && [ "$(host_of "$1")" = "$NEXT" ] && is_up "$1"
}
all_moved() { # [NAME...]
    local each
    [ $# -gt 0 ] || set -- "${all[@]}"
    for each; do eventually 180 moved "$each"; done # Nomad itself takes up to 90 s when its leader hears nothing any more
    one_writer "$@"
}
hypervisor() { processes_of_uid "$(machine_uid "$1")"; }
gone_here() { [ -z "$(hypervisor "$1")" ]; }
later() { [ "$(generation "$1")" -gt "$(cat "$BATS_TEST_TMPDIR/$1")" ]; } # than when it was written down
supervisor() { on "$HERE" pgrep -f -- "sky-vm-run .* run $(account "$TENANT").$REPO.$1\$"; }
# Nothing of the machines lives on HERE any more, which holds its lease again and may be given machines.
settled() {
    local uid
    uid=$(machine_uid a)
    ! on "$HERE" sh -c 'cat /proc/[0-9]*/status 2>/dev/null' |
        awk -v u="$uid" '/^State:/ { z = $2 == "Z" } /^Uid:/ && !z && $2 >= u && $2 < u + 16 { n = 1 } END { exit !n }' || return 1
    ready "$HERE" || return 1
    [ "$(lease "$HERE" .revoked)" = false ]
}
ready() { nomad_api GET nodes | jq -e --arg n "$1" 'all(.[] | select(.Name == $n); .Status == "ready")' >/dev/null; }
lease() { nomad_api GET "var/sky/lease/$1?namespace=skyflake" | jq -r ".Items.json | fromjson | $2"; }
leader() { nomad_api GET status/leader | jq -r 'split(":")[0] | split(".")[3] | tonumber - 10 | "n\(.)"'; }
another_leads() { [ "$(leader)" != "$1" ]; }
leads() { [ "$(leader)" = "$1" ]; }

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
