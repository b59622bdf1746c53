# A host of its own, in a directory and a network namespace, whose machines' runners are a shell that does what a test
# says: "alice/infra/www" attacks, "bob/infra/www" is its neighbour. No hypervisor, no guest: a runner can be anything.
# shellcheck disable=SC2154 # bats' variables
bats_require_minimum_version 1.5.0

runner_host() { # DIR
    local tenant name deployment
    export TOP=$1 HOST_NET=skr$$ RUNNER_UIDS=${RUNNER_UIDS:-2970000}
    mkdir -p "$TOP/box/bin"
    c++ -std=c++20 -O1 -static -o "$TOP/box/bin/attack" "$SKY_SOURCE/test/hostile/attack.cpp"
    cp /bin/busybox "$TOP/box/bin/sh"
    for name in $(busybox --list); do [ "$name" = sh ] || ln -s sh "$TOP/box/bin/$name"; done
    export BOX=00000000000000000000000000000001-box
    cat >"$TOP/box/bin/microvm-run" <<END
#!/nix/store/$BOX/bin/sh
# Opens its tap as descriptor 3, answers at its monitor, and does what lies in do/0, do/1 ...
export PATH=/nix/store/$BOX/bin
[ ! -e /nix/store/$BOX/first ] || . /nix/store/$BOX/first
exec 3<>/dev/net/tun
[ ! -e /proc/sys/net/ipv4/conf/sky0 ] || attack tap 3 sky0
attack monitor /sky/run/qmp.sock honest &
n=0
while :; do
    if [ -e /nix/store/$BOX/do/\$n ]; then
        (sh /nix/store/$BOX/do/\$n; echo \$? >/sky/run/code.new) >/sky/run/said 2>&1 </dev/null
        mv /sky/run/code.new /sky/run/code.\$n
        n=\$((n + 1))
    else
        sleep 0.02
    fi
done
END
    chmod -R a+rX "$TOP" "$BATS_RUN_TMPDIR" && chmod 755 "$TOP/box/bin/microvm-run"
    virtiofsd=$("$SKY_SOURCE/test/lib/virtiofsd" "$TOP/virtiofsd" "$SKY_CACHE")
    jq -n --arg d "$TOP" --arg bin "$SKY_BIN" --arg v "$virtiofsd" --argjson uids "$RUNNER_UIDS" '{
        v: 1, host: "n1", state: ($d + "/state"), storage: ("0" * 32), prefix: "skr", bin: $bin,
        programs: { virtiofsd: $v }, program_roots: ["/usr", "/lib", "/lib64", ($v | sub("/[^/]*$"; ""))],
        accounts: { cache: "nobody", deploy: "daemon" }, machine_uids: { first: $uids, count: 4000 },
        tenants: { alice: { uid: 5 }, bob: { uid: 7 } },
        machine: { vcpu_max: 2, mem_max_mib: 512, ready_s: 60, stop_s: 20 },
        networks: { default: { mode: "bridge", ipv4: "10.197.0.0/16" } } }' >"$TOP/config.json"
    ip netns add "$HOST_NET"
    ip -n "$HOST_NET" link set lo up
    vm storage init >/dev/null
    jq --arg id "$(jq -r .storage "$TOP/state/storage.json")" '.storage = $id' "$TOP/config.json" >"$TOP/new"
    mv "$TOP/new" "$TOP/config.json"
    vm host-start
    on_host "$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary
    for tenant in alice bob; do
        deployment=00000000000000000000000000000002-skyflake-www
        mkdir -m 0700 "$TOP/state/store/$tenant/.ok"
        mkdir "$TOP/state/store/$tenant/$deployment"
        echo '{}' >"$TOP/state/store/$tenant/$deployment/manifest.json"
        cp -a "$TOP/box" "$TOP/state/store/$tenant/$BOX"
        for name in "$BOX" "$deployment"; do ln -s "$(nar_hash)" "$TOP/state/store/$tenant/.ok/$name"; done
        mkdir -p "$TOP/state/deployments/$tenant/infra/www"
        jq -nc --arg t "$tenant" --arg h "$(nar_hash)" --arg rev "$(revision)" --args '
            [$ARGS.positional[] | "/nix/store/" + .] as $p |
            { v: 1, tenant: $t, repo: "infra", machine: "www", rev: $rev, build: "0123456789abcdef",
              created: "2026-01-01T00:00:00Z", deployment: $p[1], nar_hash: $h, manifest: {},
              closure: [$p[] | { path: ., nar_hash: $h, nar_size: 1, references: [] }] }' "$BOX" "$deployment" \
            >"$TOP/state/deployments/$tenant/infra/www/$(revision).json"
        jq -nc --arg t "$tenant" '{ v: 1, tenant: $t, repo: "infra", machines: ["www"] }' | vm register |
            jq -c --arg h "$(nar_hash)" --arg rev "$(revision)" --arg t "$tenant" --arg b "/nix/store/$BOX" \
                --arg d "/nix/store/$deployment" '{ v: 1, tenant: $t, repo: "infra", machine: "www", rev: $rev,
                deployment: $d, nar_hash: $h, runner: $b, hypervisor: "qemu", store: "virtiofs", vcpu: 1, mem_mib: 128,
                machine_id, interfaces: [{ tap: "sky0", mac: .macs[0], network: "default", queues: 1 }],
                volumes: [{ name: "root", class: "local", size_mib: 16, read_only: false }],
                ready: { type: "none" }, on_poweroff: "restart", ready_s: 60, stop_s: 4 }' >"$TOP/$tenant.json"
    done
}
nar_hash() { printf 'sha256:%052d' 0; }
revision() { printf '1%.0s' {1..40}; }

runner_host_down() {
    kill_machines
    on_host "$SKY_BIN/sky-net-setup" --config "$TOP/config.json" boundary --off || true
    pkill -KILL -f -- "conf-file=$TOP/state/net/" || true
    ip netns del "$HOST_NET"
    local each
    for each in memory pids cpu unified .; do
        [ ! -d "/sys/fs/cgroup/$each/skr" ] || find "/sys/fs/cgroup/$each/skr" -depth -type d -exec rmdir {} + || true
    done
}

on_host() { nsenter "--net=/run/netns/$HOST_NET" -- "$@" 3>&-; }
vm() { on_host "$SKY_BIN/sky-vm-run" --config "$TOP/config.json" "$@"; }
request() { jq -nc --arg t "$1" '{ v: 1, tenant: $t, repo: "infra", machine: "www" }'; }
start() { jq -c "${2:-.}" "$TOP/$1.json" | vm start; } # TENANT [JQ]
stop() { request "$1" | vm stop; }
field() { vm list </dev/null | jq -r --arg t "$1" "select(.tenant == \$t) | .$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
first_uid() { jq ".machines[\"$1.infra.www\"].uid" "$TOP/state/registry.json"; }
disk() { echo "$TOP/state/volumes/$1/infra/www/root.img"; }

# All that lives in sandboxes of this host's machines, those of one machine, of one uid in its block; zombies apart.
of_uids() { # FIRST COUNT; through cat, since some awks end at a file that has gone
    cat /proc/[0-9]*/status 2>/dev/null | awk -v first="$1" -v count="$2" '/^State:/ { dead = $2 == "Z" }
        /^Pid:/ { pid = $2 } /^Uid:/ && !dead && $2 >= first && $2 < first + count { print pid }'
}
ours() { of_uids "$RUNNER_UIDS" 4000; }
of() { # TENANT [0 runner, 1 guard, 2 virtiofsd]
    if [ "${2:-0}" = 0 ]; then field "$1" pid; else of_uids $(($(first_uid "$1") + $2)) 1 | head -n 1; fi
}
none_of() { [ -z "$(of_uids "$(first_uid "$1")" 4)" ]; }
supervisors() { pgrep -f -- "^$SKY_BIN/sky-vm-run --config $TOP/config.json run ${1:-}" || true; } # [TENANT]
nothing_lives() { [ -z "$(ours)" ] && [ -z "$(supervisors)" ]; }
kill_machines() {
    # shellcheck disable=SC2046 # lists of numbers
    kill -KILL $(supervisors) $(ours) 2>/dev/null || true
    eventually 60 nothing_lives
}
eventually() { # SECONDS COMMAND...: a bound, not a measure
    local end=$((SECONDS + $1 * ${SKY_PATIENCE:-1}))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "never came: $*" >&2; return 1; }
        sleep 0.1
    done
}

# alice's machine, as new; `first` is what its runner does before all else.
begin() { # [FIRST]
    local store=$TOP/state/store/alice/$BOX
    { [ -z "$(supervisors alice)" ] && none_of alice; } || stop alice >/dev/null
    rm -rf "$store/do" "$store/first"
    mkdir "$store/do"
    [ -z "${1:-}" ] || echo "$1" >"$store/first"
    start alice >/dev/null
}

# runner SCRIPT: alice's hypervisor, the one that the product started, does this. stdout and exit code are the script's.
runner() {
    local in=$TOP/state/store/alice/$BOX/do run n code
    run=/proc/$(field alice pid)/root/sky/run
    n=$(find "$in" -name '[0-9]*' | wc -l)
    echo "$1" >"$in/new" && chmod 644 "$in/new" && mv "$in/new" "$in/$n"
    eventually 60 test -e "$run/code.$n"
    read -r code <"$run/code.$n"
    cat "$run/said"
    return "$code"
}

# twin [SHARED...] [uid=N] SCRIPT: the same beside it, with one protection less: SHARED are namespaces that stay the
# host's (mount, net, pid, ipc), uid is somebody else's. No system call filter, no cgroup, no no_new_privs here.
twin() {
    local kept=" mount net pid ipc uts " uid each into=() where=/nix/store/$BOX
    uid=$(first_uid alice)
    while [ $# -gt 1 ]; do
        case $1 in
        uid=*) uid=${1#uid=} ;;
        *) kept=${kept/ $1 / } ;;
        esac
        shift
    done
    for each in $kept; do into+=("--$each"); done
    [[ $kept == *" mount "* ]] || where=$TOP/state/store/alice/$BOX
    [[ $kept == *" net "* ]] || into+=("--net=/run/netns/$HOST_NET")
    nsenter -t "$(field alice pid)" "${into[@]}" -S "$uid" -G "$uid" -- "$where/bin/busybox" env -i "PATH=$where/bin" \
        "$where/bin/sh" -c "$1" 3>&-
}

# Words that must (not) be in $output of the last run.
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }
