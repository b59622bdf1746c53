# A state directory of its own and a host for sky-nomad-submit. root speaks for the tenant and stands in for the service
# account. sky-vm-run is the real one for the registry; start, stop, restart, list and logs are played by a script,
# because these tests are about a host that fails, hangs and lies, and a real one can not be asked to. The real one
# is the end-to-end suite's.
# shellcheck shell=bash

HASH=00000000000000000000000000000000
SUM=sha256:0000000000000000000000000000000000000000000000000000
A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
# shellcheck disable=SC2034 # used by the tests
B=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
# shellcheck disable=SC2034
C=cccccccccccccccccccccccccccccccccccccccc
BUILD=01j8000000000000

make_host() {
    top=$(mktemp -d /var/tmp/sky-submit.XXXXXX)
    state=$top/state
    mkdir -p "$state/records" "$state/deployments" "$top/bin" "$top/vm"
    echo '{"v":1,"storage":"00000000000000000000000000000001"}' >"$state/storage.json"
    export SKY_CONFIG=$top/config.json
    write_config '.'
    fake_vm_run
}

remove_host() { rm -rf --one-file-system "$top"; }

write_config() { # JQ-FILTER
    jq -n --arg state "$state" --arg bin "$top/bin" "{v: 1, host: \"n1\", \$state, \$bin,
        storage: \"00000000000000000000000000000001\", accounts: {cache: \"root\", deploy: \"root\", dns: \"root\"},
        tenants: {alice: {uid: 3001, quota: {machines: 3, vcpu: 4, mem_mib: 2048, disk_mib: 8192}},
                  bob: {uid: 3002, quota: {}}},
        machine: {vcpu_max: 4, ready_s: 2, stop_s: 1},
        networks: {default: {mode: \"bridge\", ipv4: \"10.88.0.0/16\"}}} | $1" >"$SKY_CONFIG"
}

# Files in $top/vm say how it behaves: T.R.M is what runs, "fail-REV" does not get ready, "host-REV" can not
# be had because of the host, "away" answers 69,
# "mute" says nothing and ends with 1, "slow" takes a while; "calls" is what it was asked. While T.R.M is there, a
# process stands for its supervisor.
fake_vm_run() {
    cat >"$top/bin/sky-vm-run" <<SCRIPT
#!/bin/bash
vm=$top/vm real=$SKY_BIN/sky-vm-run
verb=\${!#}
[ "\$verb" != register ] || exec "\$real" "\$@"
path=\$verb
[ "\${*: -2:1}" != run ] || { while [ -e "\$vm/\$path" ]; do sleep 0.2; done; exit 0; }
IFS= read -r request || request="{}"
SCRIPT
    cat >>"$top/bin/sky-vm-run" <<'SCRIPT'
get() { jq -r "$1" <<<"$request"; }
path=$(get '[.tenant, .repo, .machine] | join(".")')
rev=$(get '.rev // empty')
echo "$verb $path ${rev:0:1}$(get 'if .forget then "forget" else "" end')" >>"$vm/calls"
[ ! -e "$vm/away" ] || { echo "sky-vm-run: error: the host is on fire" >&2; exit 69; }
[ ! -e "$vm/mute" ] || exit 1
[ ! -e "$vm/slow" ] || sleep "$(cat "$vm/slow")"
line() { # STATE [WHY]
    jq -nc --arg path "$path" --arg state "$1" --arg why "${2:-}" --arg rev "$rev" --arg since "$(cat "$vm/$path.since")" '
        ($path | split(".")) as $p | {v: 1, tenant: $p[0], repo: $p[1], machine: $p[2], $state,
        rev: (if $rev == "" then null else $rev end), spec: null, pid: null, $since, address: ["10.88.1.10"],
        restarts: 0, why: (if $why == "" then null else $why end)}'
}
case $verb in
start)
    jq -cS 'del(.rev)' <<<"$request" | cmp -s - "$vm/$path.spec" || date -u +%FT%TZ >"$vm/$path.since"
    jq -cS 'del(.rev)' <<<"$request" >"$vm/$path.spec"
    line starting
    [ ! -e "$vm/fail-$rev" ] || { line failed "port 80 did not open in 2 s" | tee "$vm/$path"; exit 1; }
    [ ! -e "$vm/host-$rev" ] || { line backoff "sky-net-setup up ended with 137" | tee "$vm/$path"; exit 71; }
    line ready | tee "$vm/$path"
    # Another supervisor at each start, seen in /proc before start ends: the old one may be on its way out.
    pid=$(cat "$vm/$path.pid" 2>/dev/null) && kill "$pid" 2>/dev/null
    "$0" --config "$2" run "$path" </dev/null >/dev/null 2>&1 &
    echo $! >"$vm/$path.pid"
    until tr '\0' ' ' <"/proc/$!/cmdline" | grep -q " run $path"; do sleep 0.01; done
    ;;
stop)
    date -u +%FT%TZ >"$vm/$path.since"
    rm -f "$vm/$path" "$vm/$path.spec"
    line stopped
    ;;
restart) line ready ;;
list)
    tenant=$(get '.tenant // empty')
    find "$vm" -name "${tenant:-*}.*.*" ! -name '*.since' ! -name '*.spec' ! -name '*.pid' -exec cat {} +
    ;;
logs) echo "console of $path, $(get .lines) lines" ;;
esac
exit 0
SCRIPT
    chmod 0755 "$top/bin/sky-vm-run"
}

sky() { "$SKY_BIN/sky-nomad-submit" --tenant alice "$@"; }
calls() { cat "$top/vm/calls" 2>/dev/null || true; }

# built MACHINE REV [JQ-FILTER of the manifest]: a deployment as sky-cache-push records it.
built() {
    local machine=$1 rev=$2 given
    given=$(sky identity <<<"{\"v\":1,\"repo\":\"infra\",\"machines\":[\"$machine\"]}")
    mkdir -p "$state/deployments/alice/infra/$machine"
    jq -nc --argjson given "$given" --arg machine "$machine" --arg rev "$rev" --arg sum "$SUM" --arg build "$BUILD" \
        --arg runner "/nix/store/$HASH-runner" --arg top "/nix/store/$HASH-skyflake-$machine-${rev:0:1}" '
        {v: 1, tenant: "alice", repo: "infra", $machine, $rev, $build, created: "2026-11-22T10:00:00Z", deployment: $top,
         nar_hash: $sum, closure: [{path: $runner, nar_hash: $sum, nar_size: 1, references: []},
                                   {path: $top, nar_hash: $sum, nar_size: 1, references: [$runner]}],
         manifest: {v: 1, system: "x86_64-linux", hypervisor: "qemu", vcpu: 1, mem_mib: 512,
            machine_id: $given.machine_id, $runner, toplevel: null, store: "virtiofs",
            interfaces: [{id: "sky0", mac: $given.macs[0], network: "default", queues: 1}],
            volumes: [{name: "root", size_mib: 2048, class: null, mount: "/", read_only: false}],
            ready: {type: "none"}, on_poweroff: "restart"}} | .manifest |= ('"${3:-.}"')' \
        >"$state/deployments/alice/infra/$machine/$rev.json"
}

pushed() { echo "{\"v\":1,\"repo\":\"infra\",\"machine\":\"$1\",\"old\":null,\"rev\":\"$2\",\"build\":\"${3:-$BUILD}\"}"; }
deleted() { echo "{\"v\":1,\"repo\":\"infra\",\"machine\":\"$1\",\"old\":\"$A\",\"rev\":null}"; }
branches() { # SESSION [MACHINE REV]...
    local session=$1
    shift
    jq -nc --arg session "$session" '{v: 1, repo: "infra", $session, branches: ($ARGS.positional | [range(0; length; 2) as $i |
        {key: .[$i], value: .[$i + 1]}] | from_entries)}' --args "$@"
}
request() { echo "{\"v\":1,\"repo\":\"infra\",\"machine\":\"$1\",\"rev\":\"$2\"${3:+,$3}}"; }
record() { cat "$state/records/alice/infra/$1.json"; }
