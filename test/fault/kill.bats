#!/usr/bin/env bats
# kill -9 of each tool at state-changing system calls of a push, and of each process that lives as long as a machine.
# SKY_FAULT_ALL=1: at all of them; else at a sample of SKY_FAULT_POINTS for each tool, chosen by SKY_FAULT_SEED: a
# run that names none tries what the run before it tried, so that a change is judged by itself.
load kill

setup_file() {
    load kill
    work_tree killed
    watch_tools
    two_commits
    record
    export SKY_FAULT_SEED=${SKY_FAULT_SEED:-1}
}
setup() { cd "$WORK" || return; }
teardown_file() {
    no_plan
    drop_machines
    leave_tools
}

# kills TOOL FLOOR: at least FLOOR points are found, at as many as were asked for the kill came, nothing is lost by it
# and nothing left. A call that does not come again is made up for by the next of the sample.
kills() {
    local tool=$1 floor=$2 few=${SKY_FAULT_POINTS:-3} found killed=0 missed=0 failed=0 list=$BATS_TEST_TMPDIR/list
    local scene role number occurrence words said=$BATS_TEST_TMPDIR/said
    points "$tool" >"$list"
    found=$(wc -l <"$list")
    if [ "${SKY_FAULT_ALL:-}" = 1 ]; then few=$((found * 19 / 20)); else
        points "$tool" --seed "$SKY_FAULT_SEED" --count $((few * 2)) >"$list"
    fi
    while read -r scene role number occurrence words <&4; do
        [ "$killed" -lt "$few" ] || [ "${SKY_FAULT_ALL:-}" = 1 ] || break
        try_point "$scene" "$role" "$number" "$occurrence" "$words" 4>&- 3>&- >"$said" && killed=$((killed + 1)) && continue
        case $? in
        2) missed=$((missed + 1)) && continue ;;
        *) killed=$((killed + 1)) failed=$((failed + 1)) ;;
        esac
        echo "$scene: $role $number: $occurrence. $words"
        cat "$said"
        expectation >"$said" 2>&1 || cat "$said" # its leavings are told once
    done 4<"$list"
    echo "# $tool: $found points found, killed at $killed (seed $SKY_FAULT_SEED; $missed did not come), $failed not good" |
        tee /dev/fd/3
    [ "$found" -ge "$floor" ] && [ "$killed" -ge "$few" ] && [ "$failed" = 0 ]
}

@test "kill -9 of sky-shell at any call: a plain push works, nothing is left" { kills sky-shell 100; }
@test "kill -9 of sky-build at any call: a plain push works, nothing is left" { kills sky-build 200; }
@test "kill -9 of sky-cache-push at any call: a plain push works, nothing is left" { kills sky-cache-push 80; }
@test "kill -9 of sky-nomad-submit at any call: a plain push works, nothing is left" { kills sky-nomad-submit 90; }
@test "kill -9 of sky-vm-run at any call: a plain push works, nothing is left" { kills sky-vm-run 700; }
@test "kill -9 of sky-net-setup at any call: a plain push works, nothing is left" { kills sky-net-setup 150; }

# Processes that live as long as the machine, each killed while nothing else happens.

list_pid() {
    sky-vm-run --config "$SKY_CONFIG" list </dev/null |
        jq -ne --arg repo "$REPO" 'first(inputs | select(.repo == $repo and .machine == "www")).pid'
}
one_of() { # ROLE: the pid of that process of the machine, which there is once
    local pids offset
    case $1 in
    supervisor) pids=$(supervisor) ;;
    dnsmasq) pids=$(processes_of_uid "$(id -u "$(account dns)")") ;;
    hypervisor | guard | virtiofsd)
        offset=$(sed 's/hypervisor/0/; s/guard/1/; s/virtiofsd/2/' <<<"$1")
        pids=$(processes_of_uid $(($(machine_uid www) + offset)))
        ;;
    esac
    [ "$(wc -w <<<"$pids")" = 1 ] && echo "$pids"
}
answers() { [ "$(page www)" = steady ]; }
# A machine with a guest that answers, killed once: all is as it was, ROLE by itself or at the next contact.
killed_once() { # ROLE WHAT-BECOMES-OF-THE-HYPERVISOR (lives|new)
    local before was
    git checkout -q main
    machines www="$(site steady)"
    push +HEAD:refs/heads/www && answers
    settled >"$BATS_TEST_TMPDIR/up"
    was=$(list_pid) before=$(one_of "$1")
    kill -KILL "$before"
    [ "$2" != lives ] || [ "$(list_pid)" = "$was" ]
    back() { is_up www && one_of "$1" >/dev/null && [ "$(one_of "$1")" != "$before" ]; }
    eventually 90 back "$1"
    [ "$2" != lives ] || [ "$(list_pid)" = "$was" ]
    [ "$2" != new ] || [ "$(list_pid)" != "$was" ]
    eventually 60 answers
    # A start starts nothing: neither by root's own hand nor by a push of the same commit.
    was=$(list_pid)
    sky-vm-run --config "$SKY_CONFIG" start <"$SKY_HOST/state/vm/$(account alice).$REPO.www/spec.json"
    push +HEAD:refs/heads/www
    [ "$(list_pid)" = "$was" ]
    nothing_left "$BATS_TEST_TMPDIR/up"
    sky stop "$REPO/www"
    run -1 list_pid
    [ -z "$(processes_of_uid "$(machine_uid www)")" ] && [ -z "$(supervisor)" ]
    sky restart "$REPO/www"
    nothing_left "$BATS_TEST_TMPDIR/up"
}

@test "kill -9 of the supervisor: the same hypervisor, stop is clean, start starts nothing" { killed_once supervisor lives; }
@test "kill -9 of dnsmasq: the same hypervisor, addresses are served again" { killed_once dnsmasq lives; }
@test "kill -9 of the guard: the machine ends with it, and is started again, once" { killed_once guard new; }
@test "kill -9 of virtiofsd: the machine is started again, once" { killed_once virtiofsd new; }
@test "kill -9 of the hypervisor: the machine is started again, once" { killed_once hypervisor new; }
