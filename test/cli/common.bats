#!/usr/bin/env bats
# What every tool does alike: help, version, its words about a wrong command line and a wrong configuration.
bats_require_minimum_version 1.5.0

tools="sky-shell sky-build sky-cache-push sky-nomad-submit sky-vm-run sky-net-setup"

setup() {
    # What a new host writes, see test/lib/host: small, whole, and right.
    config=$BATS_TEST_TMPDIR/config.json
    jq -n --arg d "$BATS_TEST_TMPDIR" '{
        v: 1, host: "n1", state: $d, storage: "00112233445566778899aabbccddeeff", prefix: "skyc", bin: $d, hooks: $d,
        programs: { git: "/usr/bin/git", sudo: "/usr/bin/sudo", bwrap: "/usr/bin/bwrap", pasta: "/usr/bin/pasta",
            virtiofsd: "/usr/libexec/virtiofsd", dnsmasq: "/usr/sbin/dnsmasq", mkfs_ext4: "/usr/sbin/mkfs.ext4" },
        accounts: { cache: "root", deploy: "root", dns: "root" }, machine_uids: { first: 2000000, count: 40000 },
        tenants: { alice: { uid: 3001, quota: { machines: 8, vcpu: 16, mem_mib: 16384, disk_mib: 102400 } } },
        machine: { vcpu_max: 8, mem_max_mib: 16384, root_mib: 2048, ready_s: 90, stop_s: 30 },
        cell: { root: $d, shell: "/bin/busybox", inputs: { nixpkgs: $d, microvm: $d }, guest: $d },
        networks: { default: { mode: "bridge", ipv4: "10.88.0.0/16", tenant_prefix: 24 } } }' >"$config"
}

teardown() { [ -z "${D:-}" ] || rm -rf "$D"; }

@test "--help has a usage, options and examples, on stdout, and ends well" {
    for tool in $tools; do
        run -0 --separate-stderr "$tool" --help
        [[ $output == *Usage* && $output == *--config* && $output == *xample* ]]
        [ -z "$stderr" ]
    done
}

@test "--version tells one version for all, without a configuration" {
    for tool in $tools; do
        run -0 env SKY_CONFIG=/nonexistent "$tool" --version
        [ "$output" = "$tool $(sed -nE 's/^project\(.* VERSION ([0-9.]+).*/\1/p' "$SKY_SOURCE/CMakeLists.txt")" ]
    done
}

@test "an unknown option is a wrong command line: 64, and says where help is" {
    for tool in $tools; do
        run -64 --separate-stderr "$tool" --no-such-option
        [ -z "$output" ]
        [[ $stderr == *"$tool --help"* ]]
    done
}

@test "--check-config accepts what is right" {
    for tool in $tools; do
        run -0 "$tool" --config "$config" --check-config
    done
}

@test "--check-config names the path of what is wrong, never the value, and ends with 78" {
    local wrong
    for tool in $tools; do
        jq '.networks.default.mtuu = 1234567' "$config" >"$config.1"
        jq '.cell.jobs = "s3cret"' "$config" >"$config.2"
        jq '.machine.vcpu_max = -1' "$config" >"$config.3"
        sed 's/"host": "n1"/"host": "n1", "host": "s3cret"/' "$config" >"$config.4"
        jq 'del(.tenants.alice.uid)' "$config" >"$config.5"
        for wrong in 1:networks.default.mtuu 2:cell.jobs 3:machine.vcpu_max 4:host 5:tenants.alice.uid; do
            run -78 "$tool" --config "$config.${wrong%%:*}" --check-config
            [[ $output == *"${wrong#*:}"* ]]
            [[ $output != *s3cret* && $output != *1234567* ]]
        done
    done
}

@test "a configuration that is not there ends with 78 and says which" {
    for tool in $tools; do
        run -78 "$tool" --config /nonexistent/config.json --check-config
        [[ $output == *"'/nonexistent/config.json'"* ]]
    done
}

@test "an option that sudo's fixed command line would lose is refused, and nothing crosses" {
    [ "$(id -u)" = 0 ] || skip "needs root: it becomes a tenant"
    local line
    D=$(mktemp -d /var/tmp/sky-common.XXXXXX)
    chmod 755 "$D"
    install -t "$D" "$SKY_BIN"/{sky-cache-push,sky-nomad-submit,sky-vm-run}
    printf '#!/bin/sh\necho "$@" >>%s/crossed\n' "$D" >"$D/sudo"
    chmod 755 "$D/sudo"
    install -m 0666 /dev/null "$D/crossed"
    jq --arg sudo "$D/sudo" --arg d "$D" '.programs.sudo = $sudo | .state = $d' "$config" >"$D/config.json"
    as_alice() { setpriv --reuid 3001 --regid 3001 --clear-groups "$D/$1" --config "$D/config.json" "${@:2}" </dev/null; }
    for line in "sky-cache-push missing --dry-run" "sky-cache-push push --dry-run" "sky-cache-push push --tenant alice" \
        "sky-nomad-submit submit --dry-run" "sky-nomad-submit stop --dry-run" "sky-nomad-submit status --all" \
        "sky-vm-run start --dry-run" "sky-vm-run stop --dry-run" "sky-vm-run register --dry-run" "sky-vm-run host-start --dry-run"; do
        # shellcheck disable=SC2086 # words
        run -64 as_alice $line
        [[ $output == *"fix the command line"* ]]
    done
    [ ! -s "$D/crossed" ]
    run -0 as_alice sky-cache-push missing # so it would have crossed
    grep -q 'sky-cache-push --config .* missing$' "$D/crossed"
}
