#!/usr/bin/env bats
# Clients that go away or stall, at each stage of a push and while they look on; and many at once. A killed client's work
# ends, its lock is free, nothing of it is left, and a plain push works.
load ../lib/fault

setup_file() {
    load ../lib/fault
    work_tree gone
    www one
    push main:www
    sky-cache-push gc # makes what each tenant's cache has
    mkdir "$BATS_FILE_TMPDIR/pids"
}
setup() { cd "$WORK" || return; }
teardown() {
    # Whatever a failed test left of its clients.
    local pid
    for pid in "$BATS_FILE_TMPDIR"/pids/*; do
        kill -KILL -- "-${pid##*/}" 2>/dev/null || true
        rm -f "$pid"
    done
}
teardown_file() { drop_machines; }

# A machine is ready as soon as its hypervisor answers: what runs in it is not what this is about.
fast() { site "$1" 'deployment.ready = { };'; }
www() { machines www="$(fast "$1")" "${@:2}"; } # TEXT [NAME=NIX...]
# One whose build, or whose evaluation, goes on and on.
sleeper() { echo "{ text = builtins.readFile (nixpkgs.legacyPackages.x86_64-linux.runCommand \"sleeper-$1\" { } \"sleep $1; echo slept > \$out\"); }"; }
thinker() { echo "{ text = toString (builtins.foldl' (a: _: builtins.foldl' (b: _: b) a (builtins.genList (x: x) 4000)) 0 (builtins.genList (x: x) 4000000)); }"; }

# behind COMMAND...: in a session of its own, $client; its words in $said.
behind() {
    said=$BATS_TEST_TMPDIR/said.$RANDOM
    setsid "$@" >"$said" 2>&1 </dev/null 3>&- &
    client=$!
    touch "$BATS_FILE_TMPDIR/pids/$client"
}
# The one program of that name in the client's session.
of_client() { pgrep -o -s "$client" -x "$1"; }

# Whoever works for a tenant: in the door, in git, in the cell, for the service accounts.
workers() {
    local who
    for who in alice bob carol cache deploy; do processes_of_uid "$(id -u "$(account "$who")")"; done
}
quiet() { [ -z "$(workers)" ]; }
in_cell() { pgrep -u "$(account "$TENANT")" -f "$1" >/dev/null; }
lock_is_free() { flock -n "$SKY_HOST/state/tenants/$(account "$TENANT")/locks/$REPO.lock" true; }

tenths() { echo $((${EPOCHREALTIME/./} / 100000)); }
# gone PROGRAM [WORK TENTHS]: the client's PROGRAM is killed; then WORK of it ends within TENTHS of a second, in the end all
# that worked for it, and its lock is free.
gone() {
    local begin work=
    begin=$(tenths)
    kill -KILL "$(of_client "$1")"
    if [ -n "${2:-}" ]; then
        while in_cell "$2"; do sleep 0.05; done
        work=$(($(tenths) - begin))
        echo "# $1 killed: '$2' ended after $work tenths of a second" >&3
        [ "$work" -le "$3" ]
    fi
    eventually 20 quiet
    lock_is_free
    kill -KILL -- "-$client" 2>/dev/null || true
}
before() { eventually 20 quiet && snapshot >"$BATS_TEST_TMPDIR/before"; }
# healed: a plain push works, and all is as before those clients came.
healed() {
    git reset -q --hard
    git commit -q --allow-empty -m "once more"
    run -0 push main:www
    [ "$(field www .rev)" = "$(git rev-parse HEAD)" ]
    SKY_SETTLE=20 nothing_left "$BATS_TEST_TMPDIR/before"
}

@test "a client gone in mid-upload" {
    before
    head -c 2000000 /dev/urandom >big
    git add big
    git commit -q -m big
    # The wire holds after less than 400 kB, for as long as git lives.
    # shellcheck disable=SC2016 # the script's own words
    printf '#!/bin/sh\n{ dd bs=64k count=6; while kill -0 $PPID; do sleep 0.1; done; } 2>/dev/null | ssh -F %s "$@"\n' \
        "$SKY_HOST/ssh_config" >"$BATS_FILE_TMPDIR/half"
    chmod +x "$BATS_FILE_TMPDIR/half"
    local stalls
    for stalls in ssh git; do
        behind git -c ssh.variant=ssh -c core.sshCommand="$BATS_FILE_TMPDIR/half" push sky main:www
        eventually 20 in_cell 'git.*index-pack'
        gone "$stalls"
    done
    git reset -q --hard HEAD~1
    healed
}

@test "a client that stalls in mid-upload is given up, with a sentence" {
    before
    jq '.push.idle_s = 2' "$SKY_CONFIG" >"$SKY_CONFIG.new"
    cp "$SKY_CONFIG" "$BATS_TEST_TMPDIR/config"
    mv "$SKY_CONFIG.new" "$SKY_CONFIG"
    behind bash -c "{ printf 00c8; sleep 1000; } | ssh -F $SKY_HOST/ssh_config sky-alice git-receive-pack \"'gone'\""
    eventually 20 grep -aq 'nothing came for 2 s, given up (push again)' "$said"
    mv "$BATS_TEST_TMPDIR/config" "$SKY_CONFIG"
    eventually 10 quiet
    kill -KILL -- "-$client"
    lock_is_free
    nothing_left "$BATS_TEST_TMPDIR/before"
}

@test "a client gone in mid-evaluation" {
    before
    www one mind="$(thinker)"
    behind git push sky main:mind
    eventually 60 in_cell 'nix eval.*mind'
    gone ssh 'nix eval.*mind' 20
    www one
    healed
}

@test "a client gone in mid-build: its build ends, and a push that waits, told for whom and since when, goes on" {
    before
    www one bed="$(sleeper 1000)"
    behind git push sky main:bed
    eventually 60 in_cell 'sleep 1000'
    gone git 'sleep 1000' 40 # as soon as there is a word for it
    behind git push sky main:bed
    eventually 60 in_cell 'sleep 1000'
    local first=$client
    behind git push sky main:www
    eventually 20 grep -qE 'gone is busy: a push \(build [0-9a-v]{16}\) from 127.0.0.1, since 20..-..-..T' "$said"
    local second=$client
    client=$first gone_to_next ssh 'sleep 1000' 20
    wait "$second"
    [ "$(branch www)" = "$(git rev-parse HEAD)" ]
    www one
    healed
}
# As gone(), while somebody else goes on.
gone_to_next() {
    local begin
    begin=$(tenths)
    kill -KILL "$(of_client "$1")"
    while in_cell "$2"; do sleep 0.05; done
    echo "# $1 killed: '$2' ended after $(($(tenths) - begin)) tenths of a second" >&3
    [ $(($(tenths) - begin)) -le "$3" ]
}

@test "a client that stops reading in mid-build keeps nobody else waiting" {
    www one nap="$(sleeper 3)"
    behind git push sky main:nap
    eventually 60 in_cell 'sleep 3'
    kill -STOP "$(of_client ssh)"
    run -0 push main:www
    kill -CONT "$(of_client ssh)"
    wait "$client"
    [ "$(branch nap)" = "$(git rev-parse HEAD)" ]
    run -0 push :nap
}

@test "a client gone while it followed a log, or talked to its machine" {
    before
    behind ssh -F "$SKY_HOST/ssh_config" sky-alice logs -f gone/www
    eventually 20 test -s "$said"
    gone ssh
    eventually 60 serves one
    behind bash -c "{ printf 'GET / HTTP/1.0\r\n'; sleep 1000; } | ssh -F $SKY_HOST/ssh_config sky-alice connect gone/www 80"
    eventually 20 pgrep -u "$(account deploy)" -f 'sky-nomad-submit .* connect'
    gone ssh
    nothing_left "$BATS_TEST_TMPDIR/before"
}

hypervisors() { # MACHINE: how many
    local pid
    for pid in $(processes_of_uid "$(machine_uid "$1")"); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- ' -m ' && echo "$pid"
    done | wc -l
}
serves() { [ "$(page www 2>/dev/null)" = "$1" ]; } # TEXT
# As branch, record and /proc say, which is the same.
as_pushed() {
    [ "$(field www .rev)" = "$(branch www)" ]
    [ "$(hypervisors www)" = 1 ]
}
# at_once FILE COMMAND...: in the background; all_end waits for all of them, and each has gone well.
at_once() {
    "${@:2}" >"$BATS_TEST_TMPDIR/$1.said" 2>&1 </dev/null 3>&- &
    pids+=($!)
}
all_end() {
    local each bad=0
    for each in "${pids[@]}"; do wait "$each" || bad=$?; done
    [ "$bad" = 0 ] || { tail -n 30 "$BATS_TEST_TMPDIR"/*.said >&2; return "$bad"; }
}

@test "a push, restarts, sweeps, reconciles and checks at once: all end well, and the push's commit runs, once" {
    before
    www two
    local each pids=()
    at_once push git push sky main:www
    at_once restart sky restart gone/www
    for each in 1 2; do
        at_once "gc.$each" sky-cache-push gc
        at_once "reconcile.$each" sky-nomad-submit reconcile
        at_once "ensure.$each" setpriv --reuid "$(account alice)" --regid "$(account alice)" --init-groups \
            sky-shell --config "$SKY_CONFIG" ensure
    done
    all_end
    eventually 60 serves two
    [ "$(branch www)" = "$(git rev-parse HEAD)" ]
    as_pushed
    nothing_left "$BATS_TEST_TMPDIR/before"
}

@test "a stop and a push at once: both end, and status says what is so; the next push runs" {
    before
    git commit -q --allow-empty -m "beside a stop"
    local pids=()
    at_once push git push sky main:www
    at_once stop sky stop gone/www
    all_end
    case $(field www) in
    stopped) [ "$(hypervisors www)" = 0 ] ;;
    *) [ "$(hypervisors www)" = 1 ] ;;
    esac
    git commit -q --allow-empty -m "after a stop"
    run -0 push main:www
    as_pushed
    nothing_left "$BATS_TEST_TMPDIR/before"
}

# In subshells: another tenant's, or another repository's, work tree.
tree() { # TENANT REPO
    TENANT=$1 REPO=$2 WORK=$BATS_FILE_TMPDIR/$1-$2
    cd "$WORK" || return
}

@test "ten pushes at once, to three repositories of two tenants: each machine runs what its branch says, once" {
    local each n pids=()
    git commit -q --allow-empty -m again
    for each in "alice east" "bob east"; do
        (
            # shellcheck disable=SC2086 # two words
            set -- $each
            work_tree "$2" "$1"
            www "$1 $2"
            git commit -q --allow-empty -m again
            git commit -q --allow-empty -m "and again"
        )
    done
    for n in 0 1 2; do
        at_once "gone-$n" git push sky "+main~$n:refs/heads/www"
        for each in alice bob; do
            at_once "$each-$n" git -C "$BATS_FILE_TMPDIR/$each-east" push sky "+main~$n:refs/heads/www"
        done
    done
    at_once gone-3 git push sky "+main~3:refs/heads/www"
    all_end
    for each in "alice gone" "alice east" "bob east"; do
        (
            # shellcheck disable=SC2086 # two words
            tree $each
            as_pushed
            [ "$REPO" = gone ] || { eventually 60 serves "$each" && drop_machines; }
        )
    done
}
