#!/usr/bin/env bats
# Reads /proc of every process of a running push and of a running machine: who it is, and what it could do.
# shellcheck disable=SC2030,SC2031 # each test is a subshell
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree proc
    machines www="$(site one)" slow="{ text = builtins.readFile (nixpkgs.legacyPackages.x86_64-linux.runCommand \"slow\" { } \"sleep 20; echo slow > \$out\"); }"
    push main:www
}
setup() { cd "$WORK" || return; }
teardown_file() { drop_machines; }

value() { awk -v k="$2:" '$1 == k { $1 = ""; sub(/^[ \t]+/, ""); gsub(/[ \t]+/, " "); print }' "/proc/$1/status"; }
namespace() { readlink "/proc/$1/ns/$2"; } # the host's are those of this shell
expect() { # PID WHAT GOT WANTED
    [ "$3" = "$4" ] || {
        echo "process $1 ($(value "$1" Name): $(tr '\0' ' ' <"/proc/$1/cmdline")): $2 is '$3', not '$4'" >&2
        return 1
    }
}
own_namespaces() { # PID KIND...: not the host's
    local pid=$1 kind
    shift
    for kind; do
        [ -n "$(namespace "$pid" "$kind")" ]
        [ "$(namespace "$pid" "$kind")" != "$(namespace $$ "$kind")" ] || expect "$pid" "its $kind namespace" "the host's" "its own"
    done
}
powerless() { # PID UID: all four uids are UID, no group but its own and that of /dev/kvm, no capability, never any
    local set group kvm
    kvm=$(getent group kvm | cut -d: -f3)
    expect "$1" Uid "$(value "$1" Uid)" "$2 $2 $2 $2"
    expect "$1" Gid "$(value "$1" Gid)" "$2 $2 $2 $2"
    for group in $(value "$1" Groups); do [ "$group" = "$2" ] || expect "$1" "a group" "$group" "$kvm"; done
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do expect "$1" "$set" "$(value "$1" "$set")" 0000000000000000; done
    expect "$1" NoNewPrivs "$(value "$1" NoNewPrivs)" 1
}

@test "a machine's processes: own uids, no capability, no new privileges, own namespaces, no network" {
    local uid pid n=0
    uid=$(machine_uid www)
    for pid in $(processes_of_uid "$uid"); do
        powerless "$pid" "$uid"
        own_namespaces "$pid" mnt pid net ipc uts
        n=$((n + 1))
    done
    [ "$n" -ge 1 ]
    pid=$(processes_of_uid "$uid" | head -n 1)
    # Its own network namespace has nothing but loopback: the tap has moved out.
    run -0 nsenter -t "$pid" -n ip -o link
    [ "$(grep -c . <<<"$output")" -eq 1 ]
    says ': lo:'
    # The guard, under a uid of its own, is pid 1 of the machine's pid namespace.
    [ "$(processes_of_uid $((uid + 1)) | wc -l)" -ge 1 ]
    for pid in $(processes_of_uid $((uid + 1))); do
        powerless "$pid" $((uid + 1))
        [ "$(value "$pid" NSpid | awk '{ print $NF }')" = 1 ]
        [ "$(namespace "$pid" pid)" = "$(namespace "$(processes_of_uid "$uid" | head -n 1)" pid)" ]
    done
    # virtiofsd, under another.
    [ "$(processes_of_uid $((uid + 2)) | wc -l)" -ge 1 ]
    for pid in $(processes_of_uid $((uid + 2))); do
        powerless "$pid" $((uid + 2))
        own_namespaces "$pid" mnt net
    done
}

@test "a machine sees its closure, its disks, its run directory and nothing of the host" {
    local uid pid root
    uid=$(machine_uid www)
    pid=$(processes_of_uid "$uid" | head -n 1) root=/proc/$pid/root
    [ -d "$root/nix/store" ]
    [ -e "$root/sky/volumes/root.img" ]
    for path in etc/passwd etc/shadow home var usr boot sys root nix/var; do
        [ ! -e "$root/$path" ] || { echo "the sandbox shows /$path" >&2; false; }
    done
    run nsenter -t "$pid" -m -S "$uid" -G "$uid" -r "$(find "$root/nix/store" -path '*busybox*/bin/busybox' -printf '/nix/store/%P' -quit)" touch /nix/store/x
    [ "$status" -ne 0 ]
    [ "$(find "$root/dev" -mindepth 1 -type c -printf '%P\n' | sort | grep -vE '^(kvm|net/tun|null|zero|full|random|urandom)$')" = "" ]
}

@test "no process of a machine holds a descriptor of the host's directories" {
    local uid pid
    uid=$(machine_uid www)
    for pid in $(processes_of_uid "$uid") $(processes_of_uid $((uid + 2))); do
        run bash -c "find /proc/$pid/fd -type l -printf '%l\n' | grep -E '^/(etc|home|root|work|tmp)'"
        [ -z "$output" ] || { echo "$pid: $output" >&2; false; }
    done
}

@test "the processes of a running push: tenant's uid, cell without privileges and network of the host" {
    local tenant pid in_cell=0 outside=0
    tenant=$(id -u "$(account alice)")
    git push sky main:slow >"$BATS_TEST_TMPDIR/push" 2>&1 </dev/null 3>&- &
    local client=$!
    builder() { pgrep -u "$(account alice)" -f 'sleep 20' >/dev/null; }
    eventually 60 builder
    for pid in $(processes_of_uid "$tenant"); do
        [ -e "/proc/$pid/status" ] || continue
        # sudo, on the way to a service account, is root's program; all else is the tenant's alone.
        [ "$(readlink "/proc/$pid/exe")" != /usr/bin/sudo ] || continue
        expect "$pid" Uid "$(value "$pid" Uid)" "$tenant $tenant $tenant $tenant"
        if [ "$(namespace "$pid" user)" != "$(namespace $$ user)" ] || [ "$(namespace "$pid" mnt)" != "$(namespace $$ mnt)" ]; then
            own_namespaces "$pid" user
            expect "$pid" NoNewPrivs "$(value "$pid" NoNewPrivs)" 1
            in_cell=$((in_cell + 1))
        else
            expect "$pid" CapEff "$(value "$pid" CapEff)" 0000000000000000
            expect "$pid" CapPrm "$(value "$pid" CapPrm)" 0000000000000000
            outside=$((outside + 1))
        fi
    done
    # The builder itself: in a pid, ipc, mount and network namespace that are not the host's.
    for pid in $(pgrep -u "$(account alice)" -x 'nix|sleep'); do
        own_namespaces "$pid" user mnt pid ipc net
    done
    [ "$in_cell" -ge 2 ]
    [ "$outside" -ge 2 ]
    # Whoever works for the push under a service account holds no capability and none of the tenant's groups.
    local service
    for service in cache deploy; do
        for pid in $(processes_of_uid "$(id -u "$(account $service)")"); do
            expect "$pid" CapEff "$(value "$pid" CapEff)" 0000000000000000
            [[ " $(value "$pid" Groups) " != *" $(id -g "$(account alice)") "* ]]
        done
    done
    # The tenant's cgroup holds the push where the host has cgroups to hand out.
    if jq -e '.cell.cgroups | length > 0' "$SKY_CONFIG" >/dev/null; then
        pid=$(pgrep -u "$(account alice)" -f 'sleep 20' | head -n 1)
        grep -q "/$SKY_PREFIX/$(account alice)" "/proc/$pid/cgroup"
    fi
    wait "$client"
    [ "$(page slow)" = slow ]
}

@test "after the push nothing of it runs any more" {
    quiet() { [ -z "$(processes_of_uid "$(id -u "$(account alice)")")" ]; }
    eventually 120 quiet
    [ -z "$(ls -A "$SKY_HOST/state/tenants/$(account alice)/outbox")" ]
}
