#!/usr/bin/env bats
# What the host module wrote for a NixOS host (test/golden/host, made by test/drift-host from a real nixpkgs), judged by
# the programs that will read it there.
bats_require_minimum_version 1.5.0

setup() {
    GOLDEN=$BATS_TEST_DIRNAME/../golden/host
    cd "$BATS_TEST_TMPDIR" || return
}

hosts=(least watched most cluster cluster-most ceph)
clusters=(cluster cluster-most ceph)

# config.json as the system's build leaves it: with what virtiofsd runs from.
config() { # HOST
    jq '.program_roots = ["/nix/store/virtiofsd", "/nix/store/glibc"]' "$GOLDEN/$1/config.json"
}

@test "nixos: what is judged here, and the handbook's page of options, are the module's as it is now" {
    local root=$BATS_TEST_DIRNAME/../..
    # Evaluation takes a whole nixpkgs. Without one: the sources are those that it was of.
    diff "$GOLDEN/sources" <("$root/test/lib/module-sources") || { echo "(test/drift-host --accept NIXPKGS)" && return 1; }
    diff "$root/doc/options.md" <("$root/doc/options" "$GOLDEN/reference/options.json")
    [ "$(grep -c '^## `skyflake\.' "$root/doc/options.md")" -gt 100 ]
    # Each has a type, a description and an example.
    jq -e 'all(.[]; (.description | length > 5) and (.type | length > 2) and .example != null)' "$GOLDEN/reference/options.json"
}

@test "nixos: every key of the tools' configuration is the module's" {
    # What is a word of the schema, and no key.
    local values=' bridge directory fenced global leased qemu redeploy refuse restart rollback routed sky skyflake stop vlan vxlan warn '
    jq -r 'paths | map(strings) | last' "$GOLDEN"/*/config.json | sort -u >keys
    [ "$(wc -l <keys)" -gt 100 ]
    grep -ohE '"[a-z][a-z_0-9]*"' "$BATS_TEST_DIRNAME"/../../lib/sky/config*.{cpp,hpp} | tr -d '"' | sort -u >words
    [ "$(wc -l <words)" -gt 100 ]
    while read -r word; do
        [[ $values == *" $word "* ]] || { echo "no host of test/golden/host has the key $word" && return 1; }
    done < <(comm -23 words keys)
}

@test "nixos: the tools take the configuration, and would not take a wrong one" {
    local host tool
    for host in "${hosts[@]}"; do
        config "$host" >config.json
        for tool in sky-shell sky-build sky-cache-push sky-nomad-submit sky-vm-run sky-net-setup; do
            "$tool" --config config.json --check-config
        done
    done
    jq '.machines = {}' config.json >wrong.json
    run -78 sky-vm-run --config wrong.json --check-config
    [[ $output == *"machines: "* ]]
}

@test "nixos: every key that the configuration of one host has is written, so every default is the module's" {
    # doc/interfaces.md shows one of each; what stands below a name of the operator's is compared without the name.
    keys() {
        jq -r '[paths | map(if type == "number" then "[]" else . end) | join(".")] | unique[]' |
            sed -E 's/^(tenants|networks|volumes\.classes)\.[^.]+/\1.NAME/; s/^(cell\.inputs|volumes\.classes\.NAME)\..*/\1/; s/^nodes\..*/nodes/' |
            grep -vE '\.\[\]|^nomad\.|^tenants\.NAME\.placement|^networks\.NAME\.(ids|port)' | sort -u
    }
    awk '/^## Configuration/ { on = 1 } on && /^```json/ { text = 1; next } text && /^```/ { exit } text' \
        "$BATS_TEST_DIRNAME/../../doc/interfaces.md" | keys >documented
    config cluster-most | keys >written
    [ -s documented ]
    diff documented written
    # And of a cluster.
    awk '/^## Cluster/ { on = 1 } on && /^```json/ { text = 1; next } text && /^```/ { exit } text' \
        "$BATS_TEST_DIRNAME/../../doc/interfaces.md" | sed '1s/^/{/; $s/$/}/' | jq -r '.nomad | keys[]' >documented
    config cluster-most | jq -r '.nomad | keys[]' >written
    [ -s documented ]
    diff documented written
}

@test "nixos: the tenants' numbers reach the configuration" {
    [ "$(config most | jq -c '[.tenants.alice.quota.cache_mib, .machine.stop_s, .cell.pids, .networks.default.mtu]')" = \
        "[8192,120,8192,9000]" ]
    [ "$(config most | jq -c '[.state, .prefix, .host, .verbs[]]')" = '["/srv/skyflake","sf","rack-3","restart"]' ]
}

# Accounts of this machine in the place of the host's: sshd asks for the groups of whom it judges.
sshd_config() { # HOST
    [ -e key ] || ssh-keygen -q -t ed25519 -N '' -f key
    sed -E "s#^HostKey .*#HostKey $PWD/key#; s#^Subsystem .*##; s/^Match Group skyflake-tenants/Match Group games/" \
        "$GOLDEN/$1/sshd_config"
    echo "UsePAM yes"
}

effective() { # USER
    /usr/sbin/sshd -T -f judged -C "user=$1,host=h,addr=192.0.2.1"
}

@test "nixos: sshd starts sky-shell for whatever a tenant asks, and nothing else" {
    local host line
    mkdir -p /run/sshd
    for host in "${hosts[@]}"; do
        grep -qx 'Match Group skyflake-tenants' "$GOLDEN/$host/sshd_config"
        sshd_config "$host" >judged
        /usr/sbin/sshd -t -f judged
        effective games >tenant
        for line in "forcecommand /run/current-system/sw/bin/sky-shell" "disableforwarding yes" "permittty no" \
            "permituserrc no" "permittunnel no" "passwordauthentication no" "kbdinteractiveauthentication no" \
            "authenticationmethods publickey" "authorizedkeysfile /run/skyflake/keys/%u /run/skyflake/added/%u" \
            "authorizedkeyscommand none" "acceptenv GIT_PROTOCOL" "exposeauthinfo yes" "clientaliveinterval 15" \
            "permituserenvironment no"; do
            grep -qixF "$line" tenant || { echo "no: $line" && return 1; }
        done
        [ "$(grep -c '^acceptenv' tenant)" = 1 ]
    done
}

@test "nixos: the operator's own logins stay as they are" {
    mkdir -p /run/sshd
    sshd_config least >judged
    effective root >operator
    grep -qx "forcecommand none" operator
    grep -qx "permittty yes" operator
    grep -qx "disableforwarding no" operator
}

@test "nixos: each key of a tenant is one that sshd knows, restricted" {
    local line
    while read -r line; do
        [ -n "$line" ] || continue
        [[ $line == "restrict ssh-ed25519 "* ]]
        echo "${line#restrict }" >key.pub
        ssh-keygen -l -f key.pub
    done <"$GOLDEN/most/authorized_keys.alice"
    [ "$(grep -c ssh- "$GOLDEN/most/authorized_keys.alice")" = 2 ]
}

@test "nixos: sudo takes the rules: the fixed command lines of doc/interfaces.md, to these accounts, no other" {
    local bin=/run/current-system/sw/bin config="--config /etc/skyflake/config.json" verb
    visudo -c -q -f "$GOLDEN/least/sudoers"
    cvtsudoers -f json "$GOLDEN/least/sudoers" | jq -r '.User_Specs[]
        | (.User_List[] | .usergroup // .username) as $who | .Cmnd_Specs[]
        | (.runasusers[].username // "ALL") as $runas | .Options as $options | .Commands[].command
        | "\($who) \($runas) \($options | map(select(has("authenticate"))[] | not) | any) \(.)"' |
        grep -E '^skyflake' | sort >rules
    {
        for verb in missing push; do echo "skyflake-tenants skyflake-cache true $bin/sky-cache-push $config $verb"; done
        for verb in identity submit ensure status stop restart redeploy rollback logs connect; do
            echo "skyflake-tenants skyflake-deploy true $bin/sky-nomad-submit $config $verb"
        done
        for verb in register start stop restart list logs; do
            echo "skyflake-deploy root true $bin/sky-vm-run $config $verb"
        done
    } | sort >wanted
    diff wanted rules
    # For both, with nothing of the caller's left: environment, umask, limits.
    cvtsudoers -f json "$GOLDEN/least/sudoers" | jq -r '.Defaults[] | [.Binding[]? | .usergroup // .username] as $who
        | select($who == ["skyflake-tenants", "skyflake-deploy"]) | .Options[] | to_entries[] | "\(.key)=\(.value)"' >defaults
    for each in env_reset=true use_pty=false requiretty=false umask_override=true umask=0022 \
        rlimit_{as,core,cpu,data,fsize,locks,memlock,nofile,nproc,rss,stack}=default; do
        grep -qx "$each" defaults || { cat defaults && echo "no $each" && return 1; }
    done
    cmp "$GOLDEN/least/sudoers" "$GOLDEN/most/sudoers"
}

@test "nixos: nomad takes its agents' settings, which are those of the tools' configuration" {
    local host
    for host in "${clusters[@]}"; do
        cp "$GOLDEN/$host/nomad.json" agent.json
        "$NOMAD" config validate agent.json
        jq -e --slurpfile own "$GOLDEN/$host/config.json" '$own[0] as $own | .bind_addr as $address |
            .name == $own.host and .region == $own.nomad.region and .acl.enabled and .client.enabled
            and .client.node_pool == $own.nomad.node_pool
            and (.client.max_kill_timeout | rtrimstr("s") | tonumber) >= $own.machine.stop_s + 15
            and (.tls | .http and .rpc and .verify_server_hostname and .verify_https_client)
            and .plugin[0].raw_exec[0].config[0].enabled
            and (.leave_on_interrupt or .leave_on_terminate | not)
            and ([$own.cluster[] | split("/")[0]] | index($address)) != null' agent.json
    done
    jq -e '.server | .enabled and .bootstrap_expect == 3 and (.server_join.retry_join | length == 3)' "$GOLDEN/cluster/nomad.json"
    jq -e '.server.enabled | not' "$GOLDEN/cluster-most/nomad.json"
    # The agent of this host first, if its certificate has the name.
    [ "$(jq -r '.nomad.addresses[0]' "$GOLDEN/cluster/config.json")" = https://127.0.0.1:4646 ]
    [ "$(jq -r '.nomad.addresses[0]' "$GOLDEN/cluster-most/config.json")" = "https://[2001:db8::1]:4646" ]
    # It does judge.
    jq '.client.reserved = {memory: "much"}' "$GOLDEN/cluster/nomad.json" >agent.json
    run ! "$NOMAD" config validate agent.json
}

@test "nixos: Ceph takes its configuration, and each daemon waits for what it needs" {
    local conf="$GOLDEN/ceph/ceph.conf" unit
    [ "$(ceph-conf -c "$conf" --name osd.0 --lookup 'osd memory target')" = 4294967296 ]
    [ "$(ceph-conf -c "$conf" --name mon.n1 --lookup fsid)" = "$(sed -n 's/^Environment="FSID=\(.*\)"/\1/p' "$GOLDEN/ceph/skyflake-ceph-mon.service")" ]
    # The daemons themselves read it: what they would go by.
    ceph-osd -i 0 -c "$conf" --show-config-value osd_memory_target | grep -qx 4294967296
    ceph-mon -i n1 -c "$conf" --show-config-value mon_initial_members | grep -qx 'n1, n2, n3'
    for unit in mon-n1:mon mgr-n1:mgr mds-n1:mds osd-0:osd-0 osd-1:osd-1; do
        grep -qx "Requires=skyflake-ceph-${unit#*:}.service" "$GOLDEN/ceph/ceph-${unit%:*}.service"
        grep -q "^After=.*skyflake-ceph-${unit#*:}.service" "$GOLDEN/ceph/ceph-${unit%:*}.service"
        grep -qx 'Slice=system-ceph.slice' "$GOLDEN/ceph/ceph-${unit%:*}.service"
    done
    # OSDs of other hosts are not this one's; no key is in what the store holds.
    [ ! -e "$GOLDEN/ceph/ceph-osd-2.service" ]
    run ! grep -rE 'key ?= ?A' "$GOLDEN/ceph"
    jq -e '.fsType == "ceph" and (.options | index("x-systemd.requires=skyflake-ceph-filesystem.service"))' "$GOLDEN/ceph/mounts.json"
}

@test "nixos: hosts of a cluster let each other in, and know each other by name" {
    grep -qF 'ip saddr { 10.0.0.2, 10.0.0.3 } tcp dport { 4646, 4647, 4648 } accept' "$GOLDEN/cluster/firewall.nft"
    grep -qE 'ip6 saddr \{ 2001:db8::1, .*2001:db8::6 \} tcp dport \{ 4646, 4647 \} accept' "$GOLDEN/cluster-most/firewall.nft"
    grep -qE 'ip6 saddr .* udp dport \{ 8472 \} accept' "$GOLDEN/cluster-most/firewall.nft"
    run ! grep -qE '464[678]' "$GOLDEN/least/firewall.nft"
    [ "$(jq -c '[."10.0.0.2"[], ."10.0.0.3"[]]' "$GOLDEN/cluster/hosts.json")" = '["n2","n3"]' ]
}

@test "nixos: a host that lacks a secret says which; the others get their owner" {
    local script=$BATS_TEST_DIRNAME/../../nixos-module/scripts/secrets.sh
    echo x >ca.pem
    echo x >agent.key
    run -78 sh "$script" needed root "$PWD/ca.pem" needed root "$PWD/agent.pem" needed games "$PWD/agent.key" later root "$PWD/host.token"
    [[ $output == *"not there: '$PWD/agent.pem' "* ]]
    [ "$(stat -c %U:%a agent.key ca.pem | xargs)" = "games:400 root:444" ]
    echo x >agent.pem
    run -0 sh "$script" needed root "$PWD/agent.pem" later root "$PWD/host.token"
    [ -z "$output" ]
}

@test "nixos: machines leave a host that goes down, and no other" {
    local script=$BATS_TEST_DIRNAME/../../nixos-module/scripts/drain.sh
    # In the place of what a host that goes down has: judged is the script.
    mkdir bin
    echo 'cat state' >bin/systemctl
    # shellcheck disable=SC2016
    echo 'jq -n --rawfile now eligible '\''[{Name: "n1", SchedulingEligibility: $now[:-1]}]'\' >bin/nomad
    # shellcheck disable=SC2016
    echo '[ "$NOMAD_TOKEN" = secret ] && echo "$*" >>called' >bin/submit
    sed -i '1i #!/bin/sh' bin/*
    chmod +x bin/*
    export PATH=$PWD/bin:$PATH
    drain() { sh "$script" "$1" submit n1 token mark 300; }
    echo stopping >state
    echo eligible >eligible
    run -0 drain down
    [[ $output == *"'token' is not there"* ]]
    echo secret >token
    echo running >state
    drain down
    echo stopping >state
    echo ineligible >eligible
    drain down
    [ ! -e called ]
    [ ! -e mark ]
    echo eligible >eligible
    drain down
    [ "$(cat called)" = "--config /etc/skyflake/config.json drain n1 --deadline 300" ]
    drain up
    [ "$(tail -n 1 called)" = "--config /etc/skyflake/config.json undrain n1" ]
    [ ! -e mark ]
    # What it calls is there.
    sky-nomad-submit --help | grep -qE '^ *drain '
}

@test "nixos: machines are counted by tenant and state, and a scheduler that is away is told" {
    local script=$BATS_TEST_DIRNAME/../../libexec/metrics
    # In the place of the tool, with answers as it gives them: judged is the script.
    printf '%s\n' '#!/bin/sh' '[ "$*" = "--config /etc/skyflake/config.json status --all --json" ] || exit 64' \
        'echo '\''{"machine":"alice/infra/www","state":"running","restarts":2}'\' \
        'echo '\''{"machine":"alice/infra/db","state":"running","restarts":0}'\' \
        'echo '\''{"machine":"bob/x/y","state":"failed","restarts":0}'\' >status
    chmod +x status
    env -u SKY_CONFIG sh "$script" ./status out.prom
    grep -qx 'skyflake_up 1' out.prom
    grep -qx 'skyflake_machines{tenant="alice",state="running"} 2' out.prom
    grep -qx 'skyflake_machines{tenant="bob",state="failed"} 1' out.prom
    grep -qx 'skyflake_machine_restarts{machine="alice/infra/www"} 2' out.prom
    promtool check metrics <out.prom
    printf '#!/bin/sh\nexit 69\n' >status
    env -u SKY_CONFIG sh "$script" ./status out.prom
    grep -qx 'skyflake_up 0' out.prom
    run ! grep -q '^skyflake_machines{' out.prom
}

@test "nixos: nft takes the firewall with our rules" {
    local host prefix
    for host in "${hosts[@]}"; do
        nft -c -f "$GOLDEN/$host/firewall.nft"
        prefix=$(jq -r .prefix "$GOLDEN/$host/config.json")
        grep -qF "iifname { \"${prefix}b*\", \"${prefix}t*\" } udp dport { 53, 67 } accept" "$GOLDEN/$host/firewall.nft"
    done
    [ "$(jq -c '."skyb+"' "$GOLDEN/iptables/interfaces.json")" = '{"allowedTCPPorts":[53],"allowedUDPPorts":[53,67]}' ]
}

@test "nixos: systemd takes the units, what they start is there" {
    local host unit bin=${SKY_BIN:-$PWD}
    for host in "${hosts[@]}"; do
        rm -rf units && mkdir units
        for unit in "$GOLDEN/$host"/skyflake-* "$GOLDEN/$host"/nomad.service "$GOLDEN/$host"/ceph-*.service; do
            [ -e "$unit" ] || continue
            # Where the store has a program this machine has its own. RestartMode is younger than Debian 12's systemd (252).
            sed -E "s#=(-?)/nix/store/skyflake/bin/#=\1$bin/#; s#=/nix/store/skyflake/libexec/skyflake/#=$BATS_TEST_DIRNAME/../../libexec/#; s#=/nix/store/(coreutils|bash)/bin/#=/bin/#
                s#=/nix/store/(nomad|ceph)/[^ ]*#=/bin/true#; /^Environment=/d; /^RestartMode=direct$/d" "$unit" >"units/${unit##*/}"
        done
        mkdir -p units/user-3001.slice.d units/system.slice.d
        cp "$GOLDEN/$host/user-3001.slice" units/user-3001.slice.d/overrides.conf
        cp "$GOLDEN/$host/user-3001.slice" units/
        # As systemd-fstab-generator writes what hosts share, by network.
        if [ "$(jq -r '.shared != .state' "$GOLDEN/$host/config.json")" = true ]; then
            printf '%s\n' '[Unit]' 'Wants=network-online.target network.target' 'After=network-online.target network.target remote-fs-pre.target' \
                'Before=remote-fs.target' '[Mount]' 'What=10.0.0.1:/' 'Where=/srv/skyflake' 'Type=ceph' 'Options=_netdev' >units/srv-skyflake.mount
            [ ! -e units/skyflake-ceph-filesystem.service ] ||
                sed -i '1a Requires=skyflake-ceph-filesystem.service\nAfter=skyflake-ceph-filesystem.service' units/srv-skyflake.mount
        fi
        SYSTEMD_UNIT_PATH="$PWD/units:" systemd-analyze verify --man=no units/*.service units/*.slice units/*.timer >out 2>&1 ||
            { cat out && return 1; }
        # Tenants come in while the rules are there: the last things that the unit does, undone when it ends.
        grep '^ExecStart=' units/skyflake-host.service | tail -n 2 | head -n 1 | grep -q ' /etc/ssh/authorized_keys.d /run/skyflake/keys$'
        grep '^ExecStart=' units/skyflake-host.service | tail -n 1 | grep -q '/authorized_keys /run/skyflake/added$'
        grep -qx 'RuntimeDirectory=skyflake' units/skyflake-host.service
        # What it only warns of is an error too, where it is about ours.
        run ! grep -i 'ordering cycle' out
        run ! grep -E '(skyflake-|user-3001|nomad|ceph-)[^ ]*:' out
    done
    sed -i 's/^Type=oneshot/Type=oneshoe/' units/skyflake-host.service
    SYSTEMD_UNIT_PATH="$PWD/units:" systemd-analyze verify --man=no units/skyflake-host.service >out 2>&1 || true
    grep -q 'oneshoe' out
}

@test "nixos: accounts are those that the configuration names, tenants' shell is the door" {
    local name
    for name in $(jq -r '.accounts | del(.tenants)[]' "$GOLDEN/least/config.json"); do
        jq -e --arg n "$name" '.[$n].isSystemUser' "$GOLDEN/least/accounts.json"
    done
    jq -e '.alice | .uid == 3001 and .gid == 3001 and .extraGroups == ["skyflake-tenants"] and (.createHome | not)
        and (.subordinate | not) and .shell == "/run/current-system/sw/bin/sky-shell"' "$GOLDEN/least/accounts.json"
    [ "$(jq -r '.tenants.alice.uid' "$GOLDEN/least/config.json")" = 3001 ]
    [ "$(jq -c . "$GOLDEN/most/masked.json")" = '["user@3001.service","user@3002.service"]' ]
}

@test "nixos: a host that can not be is refused with sentences, a good one warns of nothing" {
    local host
    for host in "${hosts[@]}"; do [ "$(jq -c . "$GOLDEN/$host/warnings.json")" = '[]' ]; done
    [ "$(jq '[.[] | select(startswith("skyflake"))] | length' "$GOLDEN/refused/refusals.json")" = 10 ]
    [ "$(jq '[.[] | select(startswith("skyflake"))] | length' "$GOLDEN/refused-cluster/refusals.json")" = 17 ]
    # Whoever may not run Nomad is told what to say.
    jq -r '.[]' "$GOLDEN/refused-cluster/refusals.json" | grep -F 'allowUnfreePredicate'
}

@test "nixos: the package is made with all that CMake installs" {
    local root=$BATS_TEST_DIRNAME/../.. path entry found=0
    while read -r path; do
        [ -e "$root/$path" ] || continue # where it goes
        found=$((found + 1))
        entry=$path
        until grep -qxE " *\./$entry" "$root/package.nix"; do
            [[ $entry == */* ]] || { echo "package.nix: no $path" && return 1; }
            entry=${entry%/*}
        done
    done < <(sed -n '/^install(/,/)/p' "$root/CMakeLists.txt" | grep -oE '[a-z][a-z-]*/[A-Za-z0-9._/-]+'
        # What it runs or compiles by the way.
        sed -nE 's#.*\$\{CMAKE_SOURCE_DIR\}/([A-Za-z0-9._/-]+).*#\1#p' "$root"/{,cmake/,lib/,tools/*/}*{CMakeLists.txt,.cmake} 2>/dev/null)
    [ "$found" -ge 8 ]
}

@test "nixos: the lock file pins every input of the flake, and what microvm.nix needs" {
    mkdir flake
    cp "$BATS_TEST_DIRNAME"/../../flake.{nix,lock} flake/
    metadata() { nix --store "$PWD/store" --extra-experimental-features 'nix-command flakes' flake metadata "path:$PWD/flake" --json \
        --offline --no-update-lock-file; }
    metadata | jq -e '.locks.nodes | keys == ["microvm", "nixpkgs", "root", "spectrum"] and .microvm.inputs.nixpkgs == ["nixpkgs"]
        and all(del(.root)[]; .locked | (.rev | length == 40) and (.narHash | startswith("sha256-")))'
    mkdir other
    sed -i "s#^  inputs = {#&\n    more = { url = \"path:$PWD/other\"; flake = false; };#" flake/flake.nix
    run ! metadata
    [[ $output == *"requires lock file changes"* ]]
}
