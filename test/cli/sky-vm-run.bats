#!/usr/bin/env bats
# sky-vm-run by itself: a private state, a real QEMU with a guest that knows the power button.

# What is single-quoted is for the guest, helpers are called by wait_for, stderr is set by run.
# shellcheck disable=SC2016,SC2154,SC2317

bats_require_minimum_version 1.5.0
load vm-lib

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export TOP=$BATS_FILE_TMPDIR/host SKY_TEST_UIDS=2900000
    mkdir -p "$TOP"
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$BATS_FILE_TMPDIR" # dnsmasq reads its files as nobody special
    "$BATS_TEST_DIRNAME/vm-fixture" "$TOP" "$SKY_BIN" \
        "$("$SKY_SOURCE/test/lib/virtiofsd" "$TOP/virtiofsd" "$SKY_CACHE")" \
        "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")" >&2
}

setup() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    vmdir=$TOP/state/vm/alice.infra.www
    volume=$TOP/state/volumes/alice/infra/www/root.img
    rm -f "$vmdir/console.log" "$vmdir/console.log.1"
}

teardown() {
    [ "$(id -u)" = 0 ] || return 0
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(supervisors) $(ours) 2>/dev/null || true
    wait_for no_process
    vm cleanup alice.infra.www
}
teardown_file() {
    local each
    [ "$(id -u)" = 0 ] || return 0
    "$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off
    for each in memory pids cpu unified .; do
        [ ! -d "/sys/fs/cgroup/$each/svt" ] || find "/sys/fs/cgroup/$each/svt" -depth -type d -exec rmdir {} + || true
    done
}

@test "host-start and storage init can be repeated and change nothing" {
    local before
    before=$(find "$TOP/state" -maxdepth 3 -printf '%p %m %U %G\n' | sort)
    vm host-start
    vm storage init
    [ "$(find "$TOP/state" -maxdepth 3 -printf '%p %m %U %G\n' | sort)" = "$before" ]
    [ "$(vm storage init | jq -r .storage)" = "$(jq -r .storage "$TOP/config.json")" ]
}

@test "storage init takes the id that the configuration names, and makes one where that is all zeros" {
    local id=5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f zeros=00000000000000000000000000000000 made
    jq --arg d "$TOP/other" --arg id "$id" '.state = $d | .storage = $id' "$TOP/config.json" >"$TOP/other.json"
    [ "$(sky-vm-run --config "$TOP/other.json" storage init | jq -r .storage)" = "$id" ]
    jq --arg d "$TOP/another" --arg id "$zeros" '.state = $d | .storage = $id' "$TOP/config.json" >"$TOP/other.json"
    made=$(sky-vm-run --config "$TOP/other.json" storage init | jq -r .storage)
    [[ $made =~ ^[0-9a-f]{32}$ && $made != "$zeros" ]]
    [ "$(jq -r .storage "$TOP/another/storage.json")" = "$made" ]
}

@test "without the storage's marker nothing is listed, started or set up: exit 69" {
    mv "$TOP/state/storage.json" "$TOP/marker"
    run -69 vm list </dev/null
    run -69 start
    run -69 vm host-start
    mv "$TOP/marker" "$TOP/state/storage.json"
    [[ $output == *"storage init"* ]]
}

@test "start follows the machine until it is ready; stop is the power button" {
    run --separate-stderr start '.store = "virtiofs"'
    [ "$status" = 0 ]
    [ "$(jq -r .state <<<"${lines[-1]}")" = ready ]
    local pid
    pid=$(jq .pid <<<"${lines[-1]}")
    [ "$(readlink "/proc/$pid/exe" | xargs basename)" = ld.so ]
    wait_for says "guest: store has 3"
    says "guest: disk mounted"
    run --separate-stderr vm stop <<<"$(request)"
    [ "$status" = 0 ]
    [ "$(jq -r .state <<<"${lines[-1]}")" = stopped ]
    says "guest: power button"
    wait_for no_process
    [ ! -e "$vmdir/running.json" ]
    [ ! -e "$vmdir/sock/store.sock" ]
    [ -z "$(find /sys/fs/cgroup -path '*svt/alice.infra.www' 2>/dev/null)" ]
    field_is state stopped
}

# What must not change by a look: which files there are, and what is said in them.
said() {
    (cd "$TOP/state" && find . | sort && find . -name '*.json' -type f | sort | xargs sha1sum)
}

@test "--dry-run: each verb says what it would do and changes nothing" {
    local before pid
    before=$(said)
    run -0 bash -c "$(declare -f vm); vm start --dry-run" < <(spec '.volumes += [{ name: "later", class: "local", size_mib: 16, read_only: false }]')
    [[ $output == *"alice/infra/www: would make volume later, 16 MiB"* ]]
    [[ $output == *"alice/infra/www: would start it: qemu, 1 vcpu, 128 MiB" ]]
    [ -z "$(ours)" ]
    [ "$(said)" = "$before" ]
    start >/dev/null
    pid=$(field pid) before=$(said)
    run -0 bash -c "$(declare -f vm); vm start --dry-run" < <(spec)
    [ "$output" = "alice/infra/www: would do nothing: it runs this system" ]
    run -0 bash -c "$(declare -f vm); vm start --dry-run" < <(spec '.vcpu = 2')
    [[ $output == *"would shut down what runs (pid "*"), within 20 s"*"would start it: qemu, 2 vcpu"* ]]
    run -0 vm stop --dry-run --json <<<"$(request)"
    jq -e '.machine == "www" and (.would | length == 1) and (.would[0] | startswith("shut it down (pid "))' <<<"$output"
    run -0 vm stop --dry-run <<<"$(request '{"forget":true}')"
    [[ $output == *"would give back its index 1, its uids and addresses"*"would keep volume root, 16 MiB"* ]]
    run -0 vm restart --dry-run <<<"$(request)"
    [[ $output == *"would shut down what runs"*"would start it"* ]]
    run -0 vm run --dry-run alice.infra.www
    [[ $output == *"would do nothing"* ]]
    run -75 vm cleanup --dry-run alice.infra.www
    run -0 vm register --dry-run <<<'{"v":1,"tenant":"alice","repo":"infra","machines":["www","new"]}'
    [ "$(jq -c '[.machine, .index]' <<<"$output" | xargs)" = '[www,1] [new,2]' ]
    run -0 vm host-start --dry-run
    [[ $output == *"2750 5:"*"/tenants/alice/outbox"* ]]
    [ "$(field pid)" = "$pid" ]
    [ "$(said)" = "$before" ]
    vm stop <<<"$(request)" >/dev/null
    run -0 vm cleanup --dry-run alice.infra.www
    [ "$output" = "alice/infra/www: would do nothing: nothing of it is left" ]
    jq --arg state "$TOP/elsewhere" '.state = $state' "$TOP/config.json" >"$TOP/elsewhere.json"
    run -0 "$SKY_BIN/sky-vm-run" --config "$TOP/elsewhere.json" storage init --dry-run
    [ ! -e "$TOP/elsewhere" ]
}

@test "who runs as whom: uids of their own, no capabilities, no_new_privs, a filter, namespaces of their own" {
    start '.store = "virtiofs"'
    local first pid each
    first=$(jq '.machines["alice.infra.www"].uid' "$TOP/state/registry.json")
    for each in 0 1 2; do
        pid=$(of_uid "$each")
        [ "$(awk '/^[UG]id:/ { print $2, $3, $4, $5 }' "/proc/$pid/status" | sort -u)" = \
            "$((first + each)) $((first + each)) $((first + each)) $((first + each))" ]
        [ -z "$(awk '/^Cap(Inh|Prm|Eff|Bnd|Amb):/ && $2 !~ /^0+$/' "/proc/$pid/status")" ]
        grep -q '^NoNewPrivs:.1' "/proc/$pid/status"
        grep -q '^Seccomp:.2' "/proc/$pid/status"
        for ns in mnt pid ipc net uts cgroup; do
            [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
        done
    done
    # The guard is pid 1 of the runner's namespace; virtiofsd is elsewhere.
    [ "$(readlink "/proc/$(of_uid 0)/ns/pid")" = "$(readlink "/proc/$(of_uid 1)/ns/pid")" ]
    [ "$(readlink "/proc/$(of_uid 0)/ns/pid")" != "$(readlink "/proc/$(of_uid 2)/ns/pid")" ]
    [ "$(awk '/^NSpid:/ { print $NF }' "/proc/$(of_uid 1)/status")" = 1 ]
    # No group but that of /dev/kvm, which may not be root's.
    [ "$(awk '/^Groups:/ { print $2 $3 }' "/proc/$(of_uid 0)/status")" = "$(stat -c %g /dev/kvm 2>/dev/null | grep -vx 0 || true)" ]
    [ -z "$(awk '/^Groups:/ { print $2 }' "/proc/$(of_uid 2)/status")" ]
    # Nothing to write but its directory and its disk, and virtiofsd nothing at all.
    [ "$(awk '$6 ~ /^rw/ && $5 !~ "^/(dev|proc)" { print $5 }' "/proc/$(of_uid 0)/mountinfo" | sort | xargs)" = \
        "/sky/run /sky/volumes/root.img" ]
    [ -z "$(awk '$6 ~ /^rw/ && $5 !~ "^/(dev|proc)"' "/proc/$(of_uid 2)/mountinfo")" ]
    grep -q "svt/alice.infra.www" "/proc/$(of_uid 0)/cgroup"
}

@test "inside the sandbox no user namespace can be made" {
    cp "$TOP/state/store/alice/22222222222222222222222222222222-guest/bin/microvm-run" "$TOP/runner"
    sed -i '2i unshare -U true && echo "sandbox: open" || echo "sandbox: closed"; echo "sandbox: $(id -u) $(ls /)"; env' \
        "$TOP/state/store/alice/22222222222222222222222222222222-guest/bin/microvm-run"
    start
    cp "$TOP/runner" "$TOP/state/store/alice/22222222222222222222222222222222-guest/bin/microvm-run"
    says "sandbox: closed"
    run ! says "sandbox: open"
    run ! says "SUDO\|SKY"
    tail -n 30 "$vmdir/console.log" | tr '\n' ' ' | grep -q "sandbox: $(jq '.machines["alice.infra.www"].uid' \
        "$TOP/state/registry.json") dev nix proc sky tmp"
}

@test "the supervisor is killed: the machine lives, list tells the same pid, start adopts it, stop is clean" {
    start
    local pid
    pid=$(field pid)
    # shellcheck disable=SC2046
    kill -KILL $(supervisors)
    wait_for test -z "$(supervisors)"
    field_is pid "$pid"
    run --separate-stderr start
    [ "$status" = 0 ]
    [ -n "$(supervisors)" ]
    field_is pid "$pid"
    wait_for says "guest: waits for the button"
    vm stop <<<"$(request)"
    says "guest: power button"
    wait_for no_process
}

@test "with an interface: address, tap at its bridge, none inside; adopted with it, and nothing left after the stop" {
    links() { ip -o link | grep -oE '\bsvt[bt][0-9x]+\b' | sort -u | xargs; }
    local net='.ready = { type: "tcp", port: 80 } | .interfaces = [{ tap: "sky0", mac: "02:5f:00:00:00:01",
        network: "default", queues: 1 }]'
    start "$net"
    [ "$(field 'address[0]')" = 10.199.1.10 ]
    [ "$(links)" = "svtb1 svtt1x0" ]
    [ "$(nsenter -t "$(field pid)" -n ip -o link | wc -l)" = 1 ]
    # As if its starter had died before the tap was moved to the bridge.
    # shellcheck disable=SC2046
    kill -KILL $(supervisors)
    ip link set svtt1x0 nomaster
    start "$net"
    [ "$(basename "$(readlink /sys/class/net/svtt1x0/master)")" = svtb1 ]
    vm stop <<<"$(request)"
    [ -z "$(links)" ]
}

@test "the same spec from another commit restarts nothing; another spec does, after a clean stop" {
    start
    local pid rev
    pid=$(field pid)
    rev=$(printf '2%.0s' {1..40})
    sed "s/1\{40\}/$rev/" "$TOP/state/deployments/alice/infra/www/$(printf '1%.0s' {1..40}).json" \
        >"$TOP/state/deployments/alice/infra/www/$rev.json"
    start ".rev = \"$rev\""
    field_is pid "$pid"
    wait_for field_is rev "$rev"
    start '.vcpu = 2'
    [ "$(field pid)" != "$pid" ]
    says "guest: power button"
    field_is state ready
}

@test "two starts at once start one machine" {
    start >"$TOP/one" &
    local other=$!
    start >"$TOP/two"
    wait "$other"
    [ "$(tail -n 1 "$TOP/one" | jq .pid)" = "$(tail -n 1 "$TOP/two" | jq .pid)" ]
    wait_for one_supervisor # a child that it forks looks like it for a moment
    wait_for ours_are 2 # guard and hypervisor
}

@test "the guard dies: the machine ends with it and is started again" {
    start
    local pid
    pid=$(field pid)
    kill -KILL "$(of_uid 1)"
    again() { [ "$(field state)" = ready ] && [ "$(field pid)" != "$pid" ] && [ "$(field restarts)" = 1 ]; }
    wait_for again
    wait_for ours_are 2
}

@test "virtiofsd dies: the machine, which has lost its store, is ended and started again" {
    start '.store = "virtiofs"'
    kill -KILL "$(of_uid 2)"
    again() { [ "$(field restarts)" = 1 ] && [ "$(field state)" = ready ]; }
    wait_for again
}

@test "on_poweroff stay: a guest that powers itself off stays stopped" {
    start '.on_poweroff = "stay"'
    wait_for says "guest: waits for the button"
    # Its own monitor, spoken to as the guest's own poweroff would end it.
    vm qmp alice.infra.www powerdown
    wait_for field_is state stopped
    [[ $(field why) == *"powered itself off"* ]]
    wait_for test -z "$(ours)"
    wait_for test -z "$(supervisors)"
}

@test "killed at any moment of a start, nothing is left that the next start does not take over" {
    local delay
    for delay in 0.01 0.03 0.05 0.08 0.12 0.2; do
        start '.store = "virtiofs"' >/dev/null &
        local starter=$!
        sleep "$delay"
        # shellcheck disable=SC2046
        kill -KILL "$starter" $(supervisors) 2>/dev/null || true
        wait "$starter" || true
    done
    start '.store = "virtiofs"'
    # Guard, hypervisor, virtiofsd; what a killed supervisor held back goes by itself.
    wait_for ours_are 3
    [ "$(find "$(dirname "$volume")" -type f | wc -l)" = 1 ]
}

@test "a volume is made whole, kept, grown, never shrunk, and never made anew" {
    start
    [ "$(stat -c '%s %a %u' "$volume")" = "$((16 << 20)) 600 $(jq '.machines["alice.infra.www"].uid' \
        "$TOP/state/registry.json")" ]
    blkid -o value -s LABEL "$volume" | grep -qx root
    local inode
    inode=$(stat -c %i "$volume")
    start '.volumes[0].size_mib = 24'
    [ "$(stat -c '%i %s' "$volume")" = "$inode $((24 << 20))" ]
    start
    [ "$(stat -c '%i %s' "$volume")" = "$inode $((24 << 20))" ]
    vm stop <<<"$(request)"
    mv "$volume" "$TOP/kept"
    run --separate-stderr start
    [ "$status" = 77 ]
    [ "$(jq -r .state <<<"${lines[-1]}")" = failed ]
    [[ $(jq -r .why <<<"${lines[-1]}") == *"'root' is in the registry and not on the storage"* ]]
    [ ! -e "$volume" ]
    mv "$TOP/kept" "$volume"
    start
}

@test "a spec is checked once more: what the registry, the configuration or the record do not say is refused" {
    refused() { # FILTER WORDS
        run --separate-stderr start "$1"
        [ "$status" = 77 ] || { echo "$1: $status" >&2; return 1; }
        [[ $stderr == *"$2"* ]] || { echo "$1: $stderr" >&2; return 1; }
    }
    refused '.vcpu = 3' "spec.vcpu: at most 2"
    refused '.mem_mib = 1024' "spec.mem_mib: at most 512"
    refused '.hypervisor = "crosvm"' "spec.hypervisor"
    refused '.machine_id = "00000000-0000-0000-0000-000000000000"' "spec.machine_id"
    refused '.interfaces = [{ tap: "sky0", mac: "02:5f:00:00:00:02", network: "default", queues: 1 }]' \
        "spec.interfaces.mac"
    refused '.runner = "/nix/store/44444444444444444444444444444444-x"' "spec.runner"
    refused '.nar_hash = "sha256:1000000000000000000000000000000000000000000000000000"' "spec.nar_hash"
    refused '.machine = "other"' "not registered"
    run -65 --separate-stderr start '.extra = 1'
    [[ $stderr == *extra* ]]
    wait_for no_process
}

@test "a deployment that can not be had stops nothing: the old one runs on, and is replaced later" {
    start
    local pid mark=$TOP/state/store/alice/.ok/33333333333333333333333333333333-skyflake-www
    pid=$(field pid)
    rm "$mark"
    run --separate-stderr start '.vcpu = 2'
    [ "$status" = 69 ] # not the machine's fault
    [[ $(jq -r .why <<<"${lines[-1]}") == *"in the cache: not there"* ]]
    field_is pid "$pid"
    ln -s "$(jq -r .nar_hash "$TOP/spec.json")" "$mark"
    run --separate-stderr start '.vcpu = 2'
    [ "$status" = 0 ]
    [ "$(field pid)" != "$pid" ]
}

@test "cleanup is refused while the machine lives; stop and restart of what is not there are refused" {
    start
    run -75 vm cleanup alice.infra.www
    run -77 vm stop <<<"$(request '{"machine":"nobody"}')"
    run -77 vm restart <<<"$(request '{"machine":"nobody"}')"
    local pid
    pid=$(field pid)
    vm restart <<<"$(request)"
    field_is state ready
    [ "$(field pid)" != "$pid" ]
}

@test "a hypervisor that ends at once: start says so, the supervisor goes on trying, stop ends that" {
    mv "$TOP/state/store/alice/22222222222222222222222222222222-guest/bzImage" "$TOP/bzImage"
    run --separate-stderr start
    [ "$status" = 1 ]
    [ "$(jq -r .state <<<"${lines[-1]}")" = backoff ]
    [[ $(jq -r .why <<<"${lines[-1]}") == *"ended with 1"* ]]
    [ -n "$(supervisors)" ]
    mv "$TOP/bzImage" "$TOP/state/store/alice/22222222222222222222222222222222-guest/bzImage"
    wait_for field_is state ready
    vm stop <<<"$(request)"
    wait_for no_process
}

@test "logs: the last lines, and with follow what comes until the reader goes" {
    start
    wait_for says "guest: up"
    [ "$(vm logs <<<"$(request '{"lines":1000}')" | grep -c "guest: up")" -ge 1 ]
    [ "$(vm logs <<<"$(request '{"lines":1}')" | wc -l)" -le 1 ]
    # An operator's terminal is not the guest's to command; a pipe gets each byte.
    printf 'red \033[31m\n' >>"$vmdir/console.log"
    request '{"lines":50}' >"$BATS_TEST_TMPDIR/request"
    run -0 script -qec "$SKY_BIN/sky-vm-run --config $TOP/config.json logs <$BATS_TEST_TMPDIR/request" /dev/null
    [[ $output == *'red ?[31m'* ]]
    [[ $(vm logs <"$BATS_TEST_TMPDIR/request") == *$'red \033[31m'* ]]
    # head goes after the first line: the one who follows must end, too.
    timeout 60 bash -c "$(declare -f vm request); SKY_BIN='$SKY_BIN' TOP='$TOP'
        vm logs <<<\"\$(request '{\"lines\":1000,\"follow\":true}')\" | head -n 1" | grep -q .
}

@test "a reader that goes does not take the machine with it" {
    start | head -n 1
    wait_for field_is state ready
}

@test "gc: what no machine of this host was told to run goes from the store, at any moment" {
    local old=44444444444444444444444444444444-old store=$TOP/state/store/alice pid
    start >/dev/null
    pid=$(field pid)
    mkdir "$store/$old"
    ln -s "sha256:$(printf '%052d' 1)" "$store/.ok/$old"
    run -0 vm gc --json
    [ "$(jq -c '[.tenant, .paths, .removed_paths, .removed_machines, .removed_volumes]' <<<"$output")" = '["alice",4,0,[],[]]' ]
    touch -h -d '2 days ago' "$store/.ok/$old"
    run -0 vm gc --dry-run
    [ "$output" = "alice: 3 store paths stay, 1 would go" ]
    [ -e "$store/$old" ]
    run -0 vm gc
    [ "$output" = "alice: 3 store paths stay, 1 went" ]
    [ ! -e "$store/$old" ]
    [ ! -e "$store/.ok/$old" ]
    [ -z "$(ls -A "$store/.incoming")" ]
    vm gc --grace 0
    [ "$(field pid)" = "$pid" ]
    vm stop <<<"$(request)" >/dev/null
    vm gc --grace 0 # stopped, and still what it was told to run
    start
    field_is state ready
    # A record that can not be read: nothing of this tenant goes.
    ln -s "sha256:$(printf '%052d' 1)" "$store/.ok/$old"
    mv "$TOP/state/deployments/alice" "$TOP/state/deployments/away"
    run -1 vm gc --grace 0
    mv "$TOP/state/deployments/away" "$TOP/state/deployments/alice"
    [ -h "$store/.ok/$old" ]
    run -77 vm gc --tenant nobody
}

@test "forget gives the registry entry back and keeps the volume" {
    start
    run -0 vm registry
    jq -e '.machines | keys == ["alice.infra.www"]' <<<"$output"
    [ "$output" = "$(cat "$TOP/state/registry.json")" ]
    vm stop <<<"$(request '{"forget":true}')"
    vm registry | jq -e '.machines == {} and (.kept | keys == ["alice.infra.www"])'
    [ "$(stat -c %u "$volume")" = 0 ] # until the next start: its uid may be given to another machine
    request '{"machines":["www"]}' | jq -c 'del(.machine)' | vm register |
        jq -r .machine_id >"$TOP/id"
    jq -c --arg id "$(cat "$TOP/id")" '.machine_id = $id' "$TOP/spec.json" >"$TOP/new" && mv "$TOP/new" "$TOP/spec.json"
    start
    [ "$(stat -c %u "$volume")" = "$(jq '.machines["alice.infra.www"].uid' "$TOP/state/registry.json")" ]
}

@test "gc: what is left of a forgotten machine goes at once, its volume when its time is over" {
    local mib
    start
    vm stop <<<"$(request '{"forget":true}')"
    wait_for no_process # the supervisor ends right behind its last word
    run -0 vm gc --json
    [ "$(jq -c '[.removed_machines, .removed_volumes]' <<<"$output")" = '[["alice/infra/www"],[]]' ]
    [ ! -e "$vmdir" ]
    [ -e "$volume" ]
    jq -e '.kept["alice.infra.www"].root.kept_since > 0' "$TOP/state/registry.json"
    mib=$(jq -e '.kept["alice.infra.www"].root.size_mib' "$TOP/state/registry.json")
    jq '.volumes = { keep_s: 0 }' "$TOP/config.json" >"$TOP/soon.json"
    soon() { "$SKY_BIN/sky-vm-run" --config "$TOP/soon.json" gc "$@"; }
    run -0 soon --dry-run
    [ "${lines[1]}" = "alice/infra/www: volume root, $mib MiB, would go" ]
    [ -e "$volume" ]
    run -0 soon --json
    jq -e --argjson mib "$mib" '.removed_volumes == [{ machine: "alice/infra/www", volume: "root", size_mib: $mib }]' <<<"$output"
    [ ! -e "$volume" ]
    [ ! -e "$TOP/state/volumes/alice/infra/www" ]
    [ "$(jq '.kept | length' "$TOP/state/registry.json")" = 0 ]
    # A branch of that name begins with an empty disk, as any other.
    request '{"machines":["www"]}' | jq -c 'del(.machine)' | vm register | jq -r .machine_id >"$TOP/id"
    jq -c --arg id "$(cat "$TOP/id")" '.machine_id = $id' "$TOP/spec.json" >"$TOP/new" && mv "$TOP/new" "$TOP/spec.json"
    start
    [ -e "$volume" ]
}
