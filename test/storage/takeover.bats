#!/usr/bin/env bats
# Who takes a machine over while its old writer can still write, on a real Ceph: what is late is refused, nothing is opened before
# that is sure, and nobody else on the old host is disturbed.

# Helpers are called by eventually and on; stderr is set by run.
# shellcheck disable=SC2154,SC2317,SC2016,SC2034
load ../lib/storage

setup_file() {
    load ../lib/storage
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR"
    make_host n1 650000 svfd
    make_host n2 660000 svfe
    make_host n3 670000 svff
    join_storage n1 n2 n3
}
setup() { TOP=$BATS_FILE_TMPDIR/n1 SKY_TEST_UIDS=650000 vmdir=$TOP/state/vm/$machine; }
teardown() {
    local host
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        for host in n1 n2 n3; do on "$host" eval 'tail -n 20 "$vmdir/supervisor.log" "$vmdir/console.log" 2>/dev/null' || true; done
    fi
    nft delete table inet svflate 2>/dev/null || true
    ceph start mon
    for host in n1 n2 n3; do
        [ ! -e "$BATS_FILE_TMPDIR/$host/config" ] || mv "$BATS_FILE_TMPDIR/$host/config" "$BATS_FILE_TMPDIR/$host/config.json"
    done
    drop n1 n2 n3
}
teardown_file() {
    load ../lib/storage
    local each host
    for host in n1 n2 n3; do
        on "$host" eval '"$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off'
    done
    for each in memory pids cpu unified .; do
        for host in svfd svfe svff; do
            [ ! -d "/sys/fs/cgroup/$each/$host" ] || find "/sys/fs/cgroup/$each/$host" -depth -type d -exec rmdir {} + || true
        done
    done
}
is_ready() { # HOST: starts it there
    run --separate-stderr on "$1" start
    [ "$(jq -r .state <<<"${lines[-1]}")" = ready ] || { echo "${lines[-1]}" && cat "$(log_of "$1")" && false; }
}
saw_the_end() { [ ! -d "/proc/$1" ]; }
# The old writer, which nobody will start anew.
old_writer() {
    start
    kill -KILL "$(supervisors)"
    eventually 120 counts_more 0 5
}

# The ports from which a process talks to OSDs; what of that is not acknowledged yet.
ports_to_osds() { # PID
    ss -Htnp state established '( dport >= :6800 and dport <= :6900 )' | grep -F "pid=$1," | awk '{ sub(/.*:/, "", $3); print $3 }'
}
on_its_way() { # PORT...
    local port
    for port; do
        ! ss -Htn state established "( sport = :$port )" | awk '$2 > 0 { found = 1 } END { exit !found }' || return 0
    done
    return 1
}
arrived() { ! on_its_way "$@"; }

@test "a write that was sent before the takeover and arrives after it is refused: the new history is whole" {
    local storage vm ports before each
    old_writer
    storage=$(storage_process n1) vm=$(runner n1)
    mapfile -t ports < <(ports_to_osds "$storage")
    [ "${#ports[@]}" -gt 0 ]
    # The network holds back what the old writer sends; its kernel sends it again and again.
    nft add table inet svflate
    nft add chain inet svflate out '{ type filter hook output priority 0; }'
    for each in "${ports[@]}"; do nft add rule inet svflate out tcp sport "$each" drop; done
    eventually 30 on_its_way "${ports[@]}"
    kill -STOP "$vm" "$storage"
    before=$(last_of 0)
    is_ready n2
    eventually 120 counts_more 1 5
    [ "$(last_of 0)" = "$before" ]
    nft delete table inet svflate
    eventually 150 arrived "${ports[@]}"
    sleep 2
    [ "$(last_of 0)" = "$before" ]
    kill -CONT "$vm" "$storage" 2>/dev/null || true
    eventually 60 saw_the_end "$storage"
    [ "$(last_of 0)" = "$before" ]
    before=$(last_of 1)
    eventually 120 counts_more 1 $((before + 10))
}

@test "the monitors are away in the middle of fencing: no image is opened, that is said, and it goes on when they are back" {
    local storage before each top=$BATS_FILE_TMPDIR/n2
    old_writer
    storage=$(storage_process n1)
    kill -STOP "$storage"
    before=$(last_of 0)
    # A stand-in only for the point of time: the monitor stands still when it is told whom to cut off, the first time.
    cat >"$top/ceph" <<END
#!/bin/bash
case " \$* " in *" blocklist add "*)
    exec 9<"$top" && flock 9 # several are told at once
    [ -e "$top/paused" ] || { touch "$top/paused" && "$SKY_SOURCE/test/lib/ceph" pause "$SKY_CEPH" mon; }
    ;;
esac
exec /usr/bin/ceph "\$@" 9<&-
END
    chmod +x "$top/ceph"
    cp "$top/config.json" "$top/config"
    rm -f "$(log_of n2)" # of earlier cases
    jq --arg ceph "$top/ceph" '.programs.ceph = $ceph' "$top/config" >"$top/config.json"
    run -69 --separate-stderr on n2 start
    [ -e "$top/paused" ]
    jq -r .why <<<"${lines[-1]}" | grep -qF "ceph did not answer within 15 s, pool 'sky'"
    sleep 10
    [ -z "$(on n2 ours)" ]
    run ! grep -q "fenced: .* is cut off" "$(log_of n2)"
    ceph start mon
    ready_there() { [ "$(on n2 field state)" = ready ]; }
    eventually 120 ready_there
    for each in $(clients_of n1); do
        blocklisted "$each"
        grep -qF "fenced: $each is cut off" "$(log_of n2)"
    done
    eventually 120 counts_more 1 5
    kill -CONT "$storage"
    eventually 60 saw_the_end "$storage"
    [ "$(last_of 0)" -ge "$before" ]
    [ "$(last_of 0)" -le $((before + 1)) ]
}

# How many of the hosts have a hypervisor whose storage process Ceph lets write.
writers() { # HOST...
    local host pid clients all='' cut each n=0
    for host; do
        pid=$(runner "$host") clients=$(clients_of "$host" 2>/dev/null) || continue
        [ -z "$pid" ] || [ "$(runner "$host")" != "$pid" ] || all+="$host $clients"$'\n'
    done
    cut=$(admin osd blocklist ls 2>/dev/null) # after all were looked at: who begins has cut off the others before
    while read -r host each; do
        [ -z "$host" ] || [[ $cut == *"$each "* ]] || n=$((n + 1))
    done <<<"$all"
    echo "$n"
}

one_writes() { [ "$(writers "$@")" = 1 ]; }

@test "two hosts take over at once, without a record between them: never do both write, and the old writer never again" {
    local storage vm before first second i
    old_writer
    storage=$(storage_process n1) vm=$(runner n1)
    kill -STOP "$vm" "$storage"
    before=$(last_of 0)
    on n2 start >/dev/null 2>&1 3>&- &
    first=$!
    on n3 start >/dev/null 2>&1 3>&- &
    second=$!
    for ((i = 0; i < 40; i++)); do # each cuts off the other as often as it is started anew
        promised "one writer" test "$(writers n2 n3)" -le 1
        sleep 0.5
    done
    wait "$first" "$second" || true
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(on n3 supervisors)
    eventually 120 one_writes n2 n3
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(on n2 supervisors)
    kill -CONT "$vm" "$storage" 2>/dev/null || true
    eventually 60 saw_the_end "$storage"
    sleep 5
    promised "one writer" test "$(writers n1 n2 n3)" -le 1
    promised "the old writer is cut off" test "$(last_of 0)" -ge "$before"
    promised "the old writer is cut off" test "$(last_of 0)" -le $((before + 1))
}

# A second machine of the same tenant's on n1: alice/infra/db.
second_machine() {
    local of=$TOP/state/deployments/alice/infra rev
    rev=$(jq -r .rev "$TOP/spec.json")
    mkdir -p "$of/db"
    jq -c '.machine = "db"' "$of/www/$rev.json" >"$of/db/$rev.json"
    jq -c --arg id "$(vm register <<<'{"v":1,"tenant":"alice","repo":"infra","machines":["www","db"]}' |
        jq -r 'select(.machine == "db").machine_id')" '.machine = "db" | .machine_id = $id' "$TOP/spec.json"
}

@test "a machine is taken over: the other on its old host, with volumes in the same pool, notices nothing" {
    local pid before
    second_machine >"$BATS_TEST_TMPDIR/db.json"
    vm start <"$BATS_TEST_TMPDIR/db.json"
    db() { vm list </dev/null | jq -r "select(.machine == \"db\").$1"; }
    pid=$(db pid)
    start
    kill -KILL "$(supervisors)"
    eventually 120 counts_more 0 5
    kill -STOP "$(storage_process n1)"
    is_ready n2
    eventually 120 counts_more 1 5
    machine=alice.infra.db
    before=$(last_of 0)
    eventually 120 counts_more 0 $((before + 50)) # longer than its lookout's round
    [ "$(db pid)" = "$pid" ]
    [ "$(db state)" = ready ]
    jq -nc '{ v: 1, tenant: "alice", repo: "infra", machine: "db" }' | vm stop
    rm -f "$TOP/state/vm/alice.infra.db/owner.json"
}
