#!/usr/bin/env bats
# A runner is its tenant's own program. Here it is a shell that tries what its uid, its view and its namespaces refuse; the
# twin is the same attack with one of them off.
# What is single-quoted is for the runner; bats' run sets output and lines.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load ../lib/runner

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    load ../lib/runner
    runner_host "$BATS_FILE_TMPDIR/host"
    begin
    start bob >/dev/null
    printf 'the word of bob' | dd of="$(disk bob)" conv=notrunc status=none
    export HOST_FILE=$TOP/for-anybody
    echo "the word of the host" >"$HOST_FILE"
}
setup() { [ "$(id -u)" = 0 ] || skip "needs root"; }
teardown() { [ ! -e "$BATS_TEST_TMPDIR/pids" ] || xargs kill -KILL <"$BATS_TEST_TMPDIR/pids" 2>/dev/null || true; }
teardown_file() { [ "$(id -u)" != 0 ] || runner_host_down; }

# The machines that most tests share are there, whatever the last one did to them.
both() {
    field_is alice state ready || begin
    field_is bob state ready || start bob >/dev/null
}

beside() { # COMMAND...: on the host, until the test ends; ready once it says so
    # exec: what is killed is the command, not a shell before it.
    (exec nsenter "--net=/run/netns/$HOST_NET" -- "$@" 3>&-) >"$BATS_TEST_TMPDIR/beside" 2>&1 &
    echo $! >>"$BATS_TEST_TMPDIR/pids"
    eventually 30 grep -q ready "$BATS_TEST_TMPDIR/beside"
}

@test "the neighbour's disk: not in the view, and another uid's" {
    both
    run -0 runner 'ls -R /sky/volumes; find / -xdev -name "*.img"'
    [ "$(grep -c img <<<"$output")" = 2 ] # its own, listed twice
    run ! runner "cat $(disk bob)"
    says "No such file"
    run ! twin uid="$(first_uid bob)" "cat $(disk bob)" # the view alone
    run ! twin mount "cat $(disk bob)" # the uid alone
    says "Permission denied"
    run -0 twin mount uid="$(first_uid bob)" "head -c 15 $(disk bob)" # Twin: neither.
    says "the word of bob"
}

@test "the host's files, and its tenant's store outside the closure" {
    both
    mkdir -p "$TOP/state/store/alice/00000000000000000000000000000003-other"
    run -0 runner 'ls /nix/store | wc -l; ls /'
    [ "$(tr '\n' ' ' <<<"$output")" = "2 dev nix proc sky tmp " ]
    local each
    for each in /etc/passwd "$HOST_FILE" /nix/store/00000000000000000000000000000003-other /sys/fs/cgroup /run /var; do
        run ! runner "cd $each || cat $each"
        says "$each"
    done
    run -0 twin mount "cat $HOST_FILE; ls $TOP/state/store/alice" # Twin: without a view.
    says "the word of the host"
    says "00000000000000000000000000000003-other"
}

@test "processes of others: its guard, its neighbour, its supervisor" {
    both
    local victim guard supervisor
    victim=$(of bob) guard=$(of alice 1) supervisor=$(supervisors | head -n 1)
    run -0 runner 'for p in /proc/[0-9]*; do cat $p/status | grep ^Uid; done | sort -u | wc -l'
    [ "$output" = 2 ] # the guard and itself
    local each
    for each in "$victim" "$supervisor"; do
        run ! runner "attack kill $each 0"
        says "No such process"
    done
    for each in "kill 1 9" "trace 1" "enter /proc/1/ns/mnt"; do
        run ! runner "attack $each"
        [[ $output == *"not permitted"* || $output == *"Permission denied"* ]]
    done
    run ! runner 'cat /proc/1/environ; ls /proc/1/root/ /proc/1/fd'
    says "Permission denied"
    run ! twin pid "attack kill $victim 9" # the uid alone
    says "not permitted"
    run ! twin uid="$(first_uid bob)" "attack kill $victim 9" # the namespace alone
    says "No such process"
    run -0 twin pid uid="$(first_uid bob)" "attack trace $victim && attack kill $victim 0" # Twin: neither.
    twin pid uid="$(($(first_uid alice) + 1))" "attack kill $guard 9" || true # the sweep ends it, too
    gone() { ! kill -0 "$guard" 2>/dev/null || grep -q '^State:.Z' "/proc/$guard/status"; }
    eventually 30 gone
}

@test "sockets of others: a monitor, a virtiofsd, the operator's" {
    both
    local monitor share bob
    monitor=/proc/$(of bob)/root/sky/run/qmp.sock share=$TOP/state/vm/bob.infra.www/sock/store.sock bob=$(first_uid bob)
    for each in "$monitor" "$share"; do
        run ! runner "attack connect $each"
        says "No such file"
        run ! twin mount pid "attack connect $each"
        says "Permission denied"
    done
    run -0 twin mount pid uid="$bob" "attack connect $monitor"
    run -0 twin mount uid="$bob" "attack connect $share"
    request bob | vm restart >/dev/null # its virtiofsd served somebody
}

@test "loopback, abstract sockets, families that no namespace bounds" {
    both
    beside "$TOP/box/bin/attack" listen @sky-secret
    beside sh -c 'echo ready; cd /; exec busybox httpd -f -p 127.0.0.1:8099 -h "$0"' "$TOP"
    run ! runner 'attack connect @sky-secret'
    says "refused"
    run -0 twin net 'attack connect @sky-secret' # Twin: in the host's network namespace.
    run ! runner 'nc 127.0.0.1 8099 </dev/null'
    run ! twin net 'nc -w 5 127.0.0.1 8099 </dev/null' # there the boundary knows machines' uids
    on_host nft delete table inet skr
    run -0 twin net 'nc -w 5 127.0.0.1 8099 </dev/null'
    on_host "$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary
    # VM sockets reach the host and its other guests from any network namespace.
    run ! runner 'attack family 40 1'
    says "not supported"
    run -0 runner 'attack family 1 1 && attack family 2 1 && attack family 16 3'
    python3 -c 'import socket; socket.socket(socket.AF_VSOCK)' || return 0 # a kernel that has none
    run -0 twin 'attack family 40 1' # Twin: without the filter.
}

@test "the network: no link is left inside, none can be made, no packet socket" {
    both
    run -0 runner 'ip -o link | wc -l; ip route; ip -o link | grep -c lo:'
    [ "$(tr '\n' ' ' <<<"$output")" = "1 1 " ]
    for each in evil skrt2x0 sky0; do
        run ! runner "attack tap 9 $each 9<>/dev/net/tun"
        says "not permitted"
    done
    run ! runner 'attack tap 9 sky0 multi 9<>/dev/net/tun'
    run ! runner 'attack packet'
    run ! runner 'ip link add evil type dummy'
    run ! runner 'ip link set lo up'
    # Twins: with capabilities; beside the neighbour's tap, as its uid; one that was made for more queues.
    run -0 twin uid=0 'attack packet && attack tap 9 evil 9<>/dev/net/tun && ip link set lo up && ip link set lo down'
    on_host ip tuntap add dev skrt99x0 mode tap user "$(first_uid bob)" vnet_hdr
    run ! twin net 'attack tap 9 skrt99x0 9<>/dev/net/tun'
    says "not permitted"
    run -0 twin net uid="$(first_uid bob)" 'attack tap 9 skrt99x0 9<>/dev/net/tun'
    run ! twin net 'attack tap 9 skrt1x0 9<>/dev/net/tun' # its own, held by its one queue
    says "busy"
    on_host ip tuntap add dev skrt98x0 mode tap user "$(first_uid alice)" vnet_hdr multi_queue
    run -0 twin net 'attack tap 8 skrt98x0 multi 8<>/dev/net/tun && attack tap 9 skrt98x0 multi 9<>/dev/net/tun'
    on_host ip link del skrt98x0
    on_host ip link del skrt99x0
}

@test "its own tap, through the descriptor that it holds: the port keeps its hardware address" {
    both
    local mac before
    mac=$(jq -r '.interfaces[0].mac' "$TOP/bob.json")
    before=$(on_host ip -o link show skrt1x0 | grep -o 'ether [^ ]*')
    run ! runner "attack tap-mac 3 $mac"
    says "not permitted"
    [ "$(on_host ip -o link show skrt1x0 | grep -o 'ether [^ ]*')" = "$before" ]
    # Twin: without the filter, with a tap of its own that is a port of a bridge.
    on_host ip tuntap add dev skrt98x0 mode tap user "$(first_uid alice)" vnet_hdr
    run -0 twin net "exec 9<>/dev/net/tun; attack tap 9 skrt98x0 && attack tap-mac 9 $mac"
    [ "$(on_host ip -o link show skrt98x0 | grep -o 'ether [^ ]*')" = "ether $mac" ]
    on_host ip link del skrt98x0
}

@test "new namespaces, mounts, devices, another root" {
    both
    for each in "unshare 0x10000000" "clone 0x10000000" "clone3 0x10000000" "unshare 0x20000" "unshare 0x40000000"; do
        run ! runner "attack namespaces $each"
    done
    for each in 'mount -t tmpfs x /sky/run' 'mount -o remount,rw /nix/store' 'umount /nix/store' 'mknod /sky/run/sda b 8 0' \
        'chroot / true' 'attack enter /proc/self/ns/net' 'sysctl -w kernel.core_pattern=x'; do
        run ! runner "$each"
        [[ $output =~ "not permitted"|"ermission denied"|"Read-only"|"nvalid" ]]
    done
    # Twins: without the filter; with capabilities.
    run -0 twin 'attack namespaces unshare 0x10000000 && attack namespaces clone3 0x10000000'
    run -0 twin uid=0 'mount -t tmpfs x /sky/run && umount /sky/run && chroot / true && attack enter /proc/self/ns/net'
}

@test "setuid programs and file capabilities give nothing" {
    both
    local bin=$TOP/state/store/alice/$BOX/bin uid
    uid=$(first_uid alice)
    cp "$bin/attack" "$bin/root" && chmod 4755 "$bin/root"
    cp "$bin/attack" "$bin/capable" && setcap cap_net_raw,cap_sys_admin+ep "$bin/capable"
    run -0 runner root\ who
    [ "$output" = "$uid" ]
    run ! runner 'capable packet'
    run -0 twin 'root who' # nosuid alone
    [ "$output" = "$uid" ]
    run -0 twin mount "attack tame $bin/root who" # no_new_privs alone
    [ "$output" = "$uid" ]
    run ! twin mount "attack tame $bin/capable packet"
    run -0 twin mount 'root who' # Twin: neither.
    [ "$output" = 0 ]
    run -0 twin mount 'capable packet'
}

@test "what it sees of its store and its sockets' directory can not be written, neither as virtiofsd" {
    both
    local share
    share=$(of alice 2)
    for each in "/nix/store/x" "/nix/store/$BOX/x" /sky/sock/x /sky/volumes/x /x /dev/x; do
        run ! runner "echo >$each"
        says "Read-only"
    done
    run ! runner 'rm /sky/sock/store.sock'
    in_share() { # UID SCRIPT
        nsenter -t "$share" --mount -S "$1" -G "$1" -- "/nix/store/$BOX/bin/sh" -c "PATH=/nix/store/$BOX/bin; $2"
    }
    run ! in_share "$(($(first_uid alice) + 2))" "echo >/nix/store/$BOX/x"
    says "Read-only"
    run ! in_share "$(($(first_uid alice) + 2))" "cat /etc/passwd $HOST_FILE $(disk alice)"
    [[ $output != *root:* && $output != *"word of"* ]]
    # Twin: root's way to the same directory.
    run -0 twin mount uid=0 "echo >$TOP/state/store/alice/$BOX/x"
    rm "$TOP/state/store/alice/$BOX/x"
}

@test "its run directory, its console and its disk have an end" {
    both
    mkdir -m 1777 "$TOP/open"
    local size=$((80 << 20))
    run -0 runner "head -c $size /dev/zero >full 2>/dev/null; n=\$(stat -c %s full); rm full; echo \$n"
    [ "$output" -gt 0 ]
    [ "$output" -le $((64 << 20)) ]
    run -0 runner 'mkdir d; i=0; while [ $i -lt 70000 ] && echo >d/$i; do i=$((i + 1)); done 2>/dev/null; rm -rf d; echo $i'
    [ "$output" -lt 65536 ]
    run -0 twin mount "head -c $size /dev/zero >$TOP/open/full" # Twin: a directory without an end.
    # Its disk, in which the host gave it 16 MiB; a file may have the largest's size, or the memory's, and 64 MiB.
    run ! runner 'truncate -s 1G /sky/volumes/root.img'
    says "too large"
    [ "$(stat -c %s "$(disk alice)")" -le $((192 << 20)) ]
    run -0 twin 'truncate -s 1G /sky/volumes/root.img' # Twin: without the limit.
    truncate -s 16M "$(disk alice)"
    # What it says for ever is kept in two files of 1 MiB, or what the cap is.
    runner 'head -c 40000000 /dev/zero | tr "\0" x >/proc/$PPID/fd/1' >/dev/null
    [ "$(cat "$TOP"/state/vm/alice.infra.www/console.log* | wc -c)" -lt 20000000 ]
}

@test "processes and memory: the cgroup's, and no more" {
    both
    local groups
    groups=/proc/$(of alice)/cgroup
    grep -q 'pids:/.*skr/alice.infra.www' "$groups" || grep -q '^0::/.*skr/alice.infra.www' "$groups"
    run -0 runner 'attack forks 1500'
    [ "$(tail -n 1 <<<"$output")" -lt 600 ]
    run -0 twin 'attack forks 1500' # Twin: outside of it.
    [ "$(tail -n 1 <<<"$output")" = 1500 ]
    # The limit that it has; then a smaller one, so that the test costs less.
    local limit=/sys/fs/cgroup/memory/skr/alice.infra.www/memory.limit_in_bytes
    [ -e "$limit" ] || limit=/sys/fs/cgroup/skr/alice.infra.www/memory.max
    [ "$(cat "$limit")" = $(((128 + 512 + 1024) << 20)) ]
    echo $((256 << 20)) >"$limit"
    run ! runner 'attack eat 700 2>&1 && echo eaten'
    [[ $output != *eaten* ]]
    run -0 "$TOP/box/bin/attack" eat 700 # Twin: outside of it.
    kill_machines
}

# Every way to be rude at the end of which nothing lives and the machine is told as stopped.
ends() {
    run -0 --separate-stderr stop alice
    [ "$(jq -r .state <<<"${lines[-1]}")" = stopped ]
    eventually 10 none_of alice
}

@test "a monitor that floods, lies, says nothing, takes nobody, is a link or a pipe: hints, no more, and stop stops" {
    both
    beside "$TOP/box/bin/attack" listen "$TOP/operator.sock"
    local manner
    for manner in flood lie silent deaf link pipe; do
        field_is alice state ready || begin
        case $manner in
        link) runner "rm /sky/run/qmp.sock; ln -s $TOP/operator.sock /sky/run/qmp.sock" ;;
        pipe) runner "rm /sky/run/qmp.sock; mkfifo /sky/run/qmp.sock" ;;
        *) runner "(attack monitor /sky/run/qmp.sock $manner >/dev/null 2>&1 &); sleep 0.3" ;;
        esac
        run on_host timeout 20 "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" qmp alice.infra.www status
        [[ $output != *$'\e'* && ${#output} -lt 300 ]]
        case $manner in
        lie) [ "$output" = ok ] ;;
        deaf) [ "$status" = 124 ] ;; # so the supervisor gives it a deadline, too
        *) [ "$status" -gt 0 ] && [ "$status" != 124 ] ;;
        esac
        # Twins: who reads without end, takes the words as they are, follows the link.
        local socket
        socket=/proc/$(of alice)/root/sky/run/qmp.sock
        case $manner in
        flood) [ "$(socat -u "UNIX-CONNECT:$socket" - 2>/dev/null | head -c 10000000 | wc -c)" = 10000000 ] ;;
        lie) [[ $(echo '{}' | socat -t 5 - "UNIX-CONNECT:$socket" | head -n 1 | jq -r .return.status) == *$'\e'* ]] ;;
        link)
            run ! grep -q somebody "$BATS_TEST_TMPDIR/beside"
            "$TOP/box/bin/attack" connect "$socket"
            eventually 10 grep -q somebody "$BATS_TEST_TMPDIR/beside"
            ;;
        esac
        ends
    done
}

@test "SIGTERM means nothing to it, its children leave their session: stop ends them all" {
    begin "trap '' TERM INT HUP; rm -f /sky/run/qmp.sock"
    run -0 runner 'for i in 1 2 3; do (trap "" TERM; setsid sleep 1000 >/dev/null 2>&1 &); done; echo left'
    [ "$(of_uids "$(first_uid alice)" 1 | wc -l)" -ge 4 ]
    # Twin: the same outside of its pid namespace outlives it.
    twin pid 'trap "" TERM; setsid sleep 1000 >/dev/null 2>&1 & echo $!' >"$TOP/left"
    local left
    left=$(cat "$TOP/left")
    kill -KILL "$(of alice 1)"
    one_left() { [ "$(cat "/proc/$left/comm")" = sleep ]; }
    one_left
    eventually 30 field_is alice state ready
    ends
}

@test "descriptors without number, and no tap opened: the supervisor does not lose itself in them" {
    begin
    stop alice
    echo 'attack descriptors 40 2>/dev/null; while :; do sleep 1; done' >"$TOP/state/store/alice/$BOX/first"
    start alice >"$TOP/start" &
    many() { [ "$(of_uids "$(first_uid alice)" 1 | wc -l)" -gt 40 ]; }
    eventually 30 many
    ends
    # Twin: who looks at all of them counts to millions.
    begin 'attack descriptors 40 2>/dev/null'
    eventually 30 many
    full() { ! find "/proc/$(of_uids "$(first_uid alice)" 1 | sed -n 5p)/fd" 2>/dev/null | sed -n 10000q1; }
    eventually 60 full
    ends
}

@test "a runner that ends at once is not started without end" {
    run begin 'exit 3'
    waits() { # for its next start
        [ "$(vm list </dev/null | jq -r 'select(.tenant == "alice") | "\(.state): \(.why)"')" = \
            "backoff: the hypervisor ended with 3 (see its logs)" ]
    }
    eventually 30 waits
    ends
}
