#!/usr/bin/env bats
# sky-vm-run host-setup and sky-shell tenant on this machine: accounts, sudo's rules, sshd's drop-in, keys, and all of it
# taken back. Under systemd, with machines and a reboot: test/host-vm.
# shellcheck disable=SC2154 # bats' run sets output
bats_require_minimum_version 1.5.0

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export P=${SKY_PREFIX:-skyk} TOP
    TOP=$(mktemp -d /var/tmp/sky-setup.XXXXXX)
    export SKY_CONFIG=$TOP/etc/config.json
    chmod 755 "$TOP"
    mkdir "$TOP/etc" "$TOP/bin"
    install -t "$TOP/bin" "$SKY_BIN"/sky-*
    jq -n --arg d "$TOP" --arg p "$P" --argjson uids "${SKY_UIDS:-2950000}" '{
        v: 1, host: "n1", state: ($d + "/state"), storage: "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f", prefix: $p,
        bin: ($d + "/bin"), hooks: ($d + "/hooks"),
        accounts: { cache: ($p + "-cache"), deploy: ($p + "-deploy"), dns: ($p + "-dns"), tenants: ($p + "-tenants") },
        machine_uids: { first: $uids, count: 4000 }, tenant_uids: { first: ($uids + 10000), count: 50 },
        tenants: { ($p + "-alice"): { uid: ($uids + 9000) } },
        networks: { default: { mode: "bridge", ipv4: "10.198.0.0/16" } } }' >"$SKY_CONFIG"
    for name in one two; do ssh-keygen -q -t ed25519 -N '' -C "$name@laptop" -f "$TOP/$name"; done
}
setup() { [ "$(id -u)" = 0 ] || skip "needs root: it makes accounts"; PATH=$TOP/bin:$PATH ALICE=$P-alice BOB=$P-bob; }
teardown_file() {
    [ "$(id -u)" = 0 ] || return 0
    [ ! -e "${TOP:?}/etc/config.json" ] || "$TOP/bin/sky-vm-run" host-setup --undo --data >/dev/null
    rm -rf "$TOP" "/etc/modules-load.d/$P-skyflake.conf"
}

# What a host is on this machine, to be compared.
traces() {
    { getent passwd; getent group; } | grep "^$P-" || true
    ls -d /etc/{sudoers.d,ssh/sshd_config.d,modules-load.d,systemd/system}/"$P-"* /run/"$P"-* 2>/dev/null || true
    nft list tables | grep -w "$P" || true
    [ ! -d "$TOP/state" ] || find "$TOP/state" -mindepth 1 -maxdepth 2 | sort
}
says() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2; return 1; }; }

@test "--dry-run says what would be done, and nothing is" {
    sky-vm-run storage init >/dev/null
    rm "$TOP/state/storage.json" && rmdir "$TOP/state"
    before=$(traces)
    run -0 sky-vm-run host-setup --dry-run
    says "would make group $P-tenants"
    says "would make account $P-alice"
    says "would write /etc/sudoers.d/$P-skyflake"
    says "would write /etc/ssh/sshd_config.d/$P-skyflake.conf"
    [ "$(traces)" = "$before" ]
}

@test "without the storage's marker it makes no host out of an empty directory" {
    run -69 sky-vm-run host-setup
    says "storage init"
}

@test "it makes a host that sudo, sshd and nft take, and says nothing to do when called again" {
    sky-vm-run storage init >/dev/null
    sky-vm-run host-setup
    visudo -c -q
    sshd -t
    nft list table inet "$P" | grep -q "$(jq .tenant_uids.first "$SKY_CONFIG")-"
    [ "$(id -u "$ALICE")" = "$(jq ".tenants[\"$ALICE\"].uid" "$SKY_CONFIG")" ]
    [ "$(stat -c %U:%a "$TOP/state/tenants/$ALICE/repos")" = "$ALICE:700" ]
    run -0 sshd -T -C "user=$ALICE,host=h,addr=1.2.3.4"
    says "forcecommand $TOP/bin/sky-shell"
    says "authorizedkeysfile /run/$P-host/keys/%u"
    run -0 sshd -T -C "user=root,host=h,addr=1.2.3.4"
    says "forcecommand none"
    says "maxstartups 60:30:100"
    setpriv --reuid "$ALICE" --regid "$ALICE" --init-groups sudo -n -l -U "$ALICE" 2>/dev/null | grep -q "sky-nomad-submit" ||
        sudo -l -U "$ALICE" | grep -q sky-nomad-submit
    run -0 sky-vm-run host-setup
    says "nothing to do"
}

@test "what somebody else made in its place stays, and it says so" {
    printf '# mine\n' >"/etc/modules-load.d/$P-skyflake.conf"
    run -78 sky-vm-run host-setup
    says "was not made by host-setup"
    rm "/etc/modules-load.d/$P-skyflake.conf"
    run -0 sky-vm-run host-setup
    says "write /etc/modules-load.d/$P-skyflake.conf"
}

@test "tenant add: account, directories, quota and a key, without a new configuration" {
    before=$(sha1sum "$SKY_CONFIG")
    sky-shell tenant add "$BOB" --key "$TOP/one.pub" --key-name laptop --machines 2
    [ "$(sha1sum "$SKY_CONFIG")" = "$before" ]
    uid=$(jq '.tenant_uids.first' "$SKY_CONFIG")
    [ "$(id -u "$BOB")" = "$uid" ]
    id -Gn "$BOB" | grep -qw "$P-tenants"
    [ "$(stat -c %U:%a "$TOP/state/tenants/$BOB/repos")" = "$BOB:700" ]
    [ "$(stat -c %U:%a "$TOP/state/tenants.json")" = root:644 ]
    [ "$(cat "/run/$P-host/keys/$BOB")" = "restrict $(cut -d' ' -f1,2 "$TOP/one.pub") laptop" ]
    run -0 sky-shell tenant list --json
    [ "$(jq -c --arg t "$BOB" 'select(.tenant == $t) | [.added, .keys, .quota.machines, .suspended]' <<<"$output")" = \
        '[true,["laptop"],2,null]' ]
    sky-shell tenant quota "$BOB" --mem 1024
    [ "$(jq -c ".tenants[\"$BOB\"].quota | [.machines, .mem_mib]" "$TOP/state/tenants.json")" = '[2,1024]' ]
    # As every tool sees the tenant:
    [ "$(setpriv --reuid "$BOB" --regid "$BOB" --init-groups sky-shell -c whoami | head -n 1)" = "$BOB on n1, from this host" ]
    nft list table inet "$P" | grep -q "$uid-"
    run -77 sky-shell tenant add "$BOB"
    says "is there already"
    run -77 sky-shell tenant add daemon
    says "there is an account"
}

@test "a tenant whose name or uid is somebody else's on this host stays away from it, and nobody else does" {
    local uid
    uid=$(($(jq .tenant_uids.first "$SKY_CONFIG") + 30))
    useradd --system --no-create-home --uid "$uid" "$P-other"
    cp -p "$TOP/state/tenants.json" "$TOP/before"
    jq -c --arg t "$BOB" --arg c "$P-carol" --argjson u "$uid" '.tenants.daemon = (.tenants[$t] | .uid = $u + 1)
        | .tenants[$c] = (.tenants[$t] | .uid = $u)' "$TOP/before" >"$TOP/state/tenants.json"
    rm -r "$TOP/state/tenants/$BOB/locks"
    run -0 sky-vm-run host-start
    cp -p "$TOP/before" "$TOP/state/tenants.json"
    userdel "$P-other"
    says "tenant 'daemon' is not on this host: account 'daemon' has uid "
    says "tenant '$P-carol' is not on this host: uid $uid of '$P-carol' is account '$P-other' here"
    [ -d "$TOP/state/tenants/$BOB/locks" ]
    [ ! -e "$TOP/state/tenants/$P-carol" ] && [ ! -e "$TOP/state/tenants/daemon" ]
}

@test "keys have names, one line each, and what is none is refused" {
    sky-shell tenant key add "$BOB" desk <"$TOP/two.pub"
    run -0 sky-shell tenant key list "$BOB"
    [ "${#lines[@]}" = 2 ]
    says "desk  ssh-ed25519 $(ssh-keygen -lf "$TOP/two.pub" | cut -d' ' -f2)"
    run -65 sky-shell tenant key add "$BOB" other "$TOP/two.pub"
    says "already, as 'desk'"
    for bad in '' 'ssh-ed25519' 'ssh-ed25519 AAAA' "command=\"sh\" $(cat "$TOP/two.pub")" \
        "$(cat "$TOP/one.pub" "$TOP/two.pub")" "$(cat "$TOP/two")"; do
        run -65 sky-shell tenant key add "$BOB" bad <<<"$bad"
    done
    run -65 sky-shell tenant key add "$BOB" 'a b' "$TOP/two.pub"
    sky-shell tenant key rm "$BOB" desk
    run -77 sky-shell tenant key rm "$BOB" desk
    [ "$(wc -l <"/run/$P-host/keys/$BOB")" = 1 ]
    sky-shell tenant key add "$ALICE" laptop "$TOP/two.pub" # beside those of the configuration
    ssh-keygen -lf "/run/$P-host/keys/$ALICE"
}

@test "who had to wait for another judges by what is there then" {
    exec {turn}<>"$TOP/state/tenants.lock"
    flock "$turn"
    sky-shell tenant key add "$BOB" late "$TOP/two.pub" {turn}>&- 3>&- 2>"$TOP/said" &
    late=$!
    sleep 1 # by then it waits
    cp -p "$TOP/state/tenants.json" "$TOP/before"
    jq -c --arg t "$BOB" 'del(.tenants[$t])' "$TOP/before" >"$TOP/state/tenants.json"
    cp "/run/$P-host/keys/$BOB" "$TOP/keys"
    exec {turn}>&-
    code=0
    wait "$late" || code=$?
    [ "$code" = 77 ]
    cp -p "$TOP/before" "$TOP/state/tenants.json"
    grep "no tenant '$BOB'" "$TOP/said"
    cmp "/run/$P-host/keys/$BOB" "$TOP/keys"
}

@test "suspend shuts the door with a sentence, resume opens it" {
    as_bob() { setpriv --reuid "$BOB" --regid "$BOB" --init-groups sky-shell -c "$@"; }
    sky-shell tenant suspend "$BOB" "the bill of May"
    run -77 as_bob status
    says "$BOB is suspended: the bill of May"
    run -77 as_bob "git-receive-pack 'infra'"
    says "suspended"
    sky-shell tenant resume "$BOB"
    run -0 as_bob status
}

@test "it is all root's; a tenants.json that another could write is not taken" {
    for line in "list" "add x" "key list $BOB" "suspend $BOB" "rm $BOB"; do
        # shellcheck disable=SC2086 # words
        run -77 setpriv --reuid "$BOB" --regid "$BOB" --init-groups sky-shell tenant $line
    done
    run -77 setpriv --reuid "$BOB" --regid "$BOB" --init-groups sky-vm-run host-setup --dry-run
    chmod 666 "$TOP/state/tenants.json"
    run -78 sky-vm-run --check-config
    says "not root's alone"
    chmod 644 "$TOP/state/tenants.json"
    sky-vm-run --check-config
}

@test "doctor: each thing that is missing in a sentence with the way out; 1 while something is bad" {
    finding() { jq -r --arg c "$1" --arg t "$2" 'select(.check == $c and (.text | contains($t))) | "\(.state) \(.way)"' <<<"$output"; }
    run --separate-stderr sky-vm-run doctor --json
    [ "$status" = 1 ] # no virtiofsd, no cell, no inputs here
    [[ $(finding inputs "no source of 'nixpkgs'") == "bad a source tree"* ]]
    [ "$(finding sudo "rules are there")" = "good null" ]
    [ "$(finding sshd "sky-shell and nothing else")" = "good null" ]
    [ "$(finding accounts tenants)" = "good null" ]
    [ "$(finding rules "kept off")" = "good null" ]
    [ "$(finding storage "is this configuration's")" = "good null" ]

    jq '.cell.egress = ["192.0.2.0/24"]' "$SKY_CONFIG" >"$TOP/other.json"
    run -1 --separate-stderr sky-vm-run --config "$TOP/other.json" doctor --json
    [ "$(finding rules "not what the configuration wants")" = "bad sky-net-setup boundary" ]

    mv "/etc/sudoers.d/$P-skyflake" "/etc/ssh/sshd_config.d/$P-skyflake.conf" "$TOP"
    mv "$TOP/state/storage.json" "$TOP"
    nft delete table inet "$P"
    printf '#!/bin/sh\necho git version 2.25.1\n' >"$TOP/git"
    chmod 755 "$TOP/git"
    jq '.programs.git = $git | .programs.dnsmasq = "/nonexistent/dnsmasq" | .programs.rbd = "/nonexistent/rbd"
        | .programs.qemu_storage_daemon = "/nonexistent/qsd"
        | .volumes = { default: "local", classes: { local: { kind: "local" }, ceph: { kind: "fenced", pool: "sky" } } }' --arg git "$TOP/git" "$SKY_CONFIG" >"$TOP/other.json"
    run -1 --separate-stderr sky-vm-run --config "$TOP/other.json" doctor --json
    mv "$TOP/$P-skyflake" /etc/sudoers.d/
    mv "$TOP/$P-skyflake.conf" /etc/ssh/sshd_config.d/
    mv "$TOP/storage.json" "$TOP/state"
    sky-net-setup boundary
    [[ $(finding storage "storage.json' is not there") == "bad mount it"* ]]
    [[ $(finding programs "git 2.25.1 is too old") == "bad 2.29 or newer"* ]]
    [[ $(finding programs "dnsmasq is not there: '/nonexistent/dnsmasq'") == "bad install dnsmasq-base"* ]]
    [[ $(finding programs "rbd is not there: '/nonexistent/rbd'") == "bad install ceph-common"* ]]
    [[ $(finding programs "qemu-storage-daemon is not there") == "bad install qemu-utils"* ]]
    [[ $(finding sudo "may not have sky-vm-run start run as 'root'") == "bad sky-vm-run host-setup"* ]]
    [[ $(finding sshd "forcecommand $TOP/bin/sky-shell") == "bad sky-vm-run host-setup"* ]]
    [[ $(finding rules "no table 'inet $P'") == "bad sky-net-setup boundary"* ]]

    echo '{' >"$TOP/other.json"
    run -1 sky-vm-run --config "$TOP/other.json" doctor
    says "bad      configuration: "
    run -77 setpriv --reuid "$ALICE" --regid "$ALICE" --init-groups sky-vm-run doctor
}

@test "rm refuses while there are volumes, and then leaves nothing; the uid is never given again" {
    local registry=$TOP/state/registry.json
    jq -n --arg m "$BOB.infra.www" '{ v: 1, next_index: 1, tenants: {}, machines: {},
        kept: { ($m): { root: { class: "local", size_mib: 8 } } } }' >"$registry"
    chmod 640 "$registry"
    run -77 sky-shell tenant rm "$BOB"
    says "0 machines, 1 volume" # wherever its file lies
    jq '.kept = {}' "$registry" >"$registry.new"
    mv "$registry.new" "$registry"
    install -d "$TOP/state/volumes/$BOB/infra/db"
    : >"$TOP/state/volumes/$BOB/infra/db/root.img"
    run -77 sky-shell tenant rm "$BOB"
    says "0 machines, 1 volume" # nor one that the registry does not know
    rm -r "$TOP/state/volumes/$BOB" "$registry"
    sky-shell tenant rm "$BOB"
    run -1 id -u "$BOB"
    [ -z "$(find "$TOP/state" -name "$BOB*")" ]
    sky-shell tenant add "$BOB"
    [ "$(id -u "$BOB")" = $(($(jq .tenant_uids.first "$SKY_CONFIG") + 1)) ]
    run -77 sky-shell tenant rm "$ALICE"
    says "of the configuration"
}

@test "a backup brings tenants, their keys and repositories to a new computer" {
    local uid kept=(tenants.json authorized_keys records keys "tenants/$BOB/repos")
    sky-shell tenant key add "$BOB" laptop "$TOP/one.pub"
    uid=$(id -u "$BOB")
    setpriv --reuid "$BOB" --regid "$BOB" --init-groups git init -q --bare "$TOP/state/tenants/$BOB/repos/infra.git"
    run -69 "$SKY_SOURCE/libexec/backup" "$SKY_CONFIG" "$TOP" 2
    says "is it mounted?"
    mkdir "$TOP/backups" && touch "$TOP/backups/skyflake-backup"
    "$SKY_SOURCE/libexec/backup" "$SKY_CONFIG" "$TOP/backups" 2
    mkdir "$TOP/kept"
    (cd "$TOP/state" && cp -a --parents "${kept[@]}" "$TOP/kept")
    cp "$SKY_CONFIG" "$TOP/kept/"
    sky-vm-run host-setup --undo --data
    # There, with the same configuration:
    mkdir -p "${SKY_CONFIG%/*}" && cp "$TOP/kept/config.json" "$SKY_CONFIG"
    sky-vm-run storage init >/dev/null
    sky-vm-run host-setup
    run -75 "$SKY_SOURCE/libexec/restore" "$SKY_CONFIG" "$TOP/backups/"n1-*
    says "tenant '$BOB' has no directory yet"
    sky-vm-run host-start
    "$SKY_SOURCE/libexec/restore" "$SKY_CONFIG" "$TOP/backups/"n1-*
    for each in "${kept[@]}"; do diff -r "$TOP/kept/$each" "$TOP/state/$each"; done
    [ "$(id -u "$BOB")" = "$uid" ]
    [ "$(stat -c %U "$TOP/state/tenants/$BOB/repos/infra.git/HEAD")" = "$BOB" ]
    [ "$(wc -l <"/run/$P-host/keys/$BOB")" = 1 ]
}

@test "--undo refuses while machines run that it can not stop, and changes nothing" {
    [ ! -d /run/systemd/system ] || skip "systemd is here and stops them: test/host-vm"
    setpriv --reuid "$(jq .machine_uids.first "$SKY_CONFIG")" --clear-groups sleep 1000 3>&- &
    machine=$!
    until [ "$(stat -c %u "/proc/$machine")" != 0 ]; do sleep 0.1; done
    before=$(traces)
    run sky-vm-run host-setup --undo
    kill "$machine"
    wait "$machine" || true
    [ "$status" = 75 ]
    says "machines run here"
    [ "$(traces)" = "$before" ]
}

@test "--undo leaves data and configuration, and the host comes back with them" {
    owner=$(stat -c %u "$TOP/state/cache")
    data=$(find "$TOP/state" | sort)
    run -0 sky-vm-run host-setup --undo --dry-run
    says "would remove account $P-cache"
    sky-vm-run host-setup --undo
    run -1 grep -v "^$TOP/state" <(traces)
    [ "$(find "$TOP/state" | sort)" = "$data" ]
    sky-vm-run host-setup
    [ "$(id -u "$P-cache")" = "$owner" ]
    [ "$(id -u "$BOB")" = "$(jq ".tenants[\"$BOB\"].uid" "$TOP/state/tenants.json")" ]
}

@test "--undo --data takes no other directory for its own, and changes nothing then" {
    mkdir -p "$TOP/photos" && echo dear >"$TOP/photos/one"
    jq --arg d "$TOP/photos" '.state = $d' "$SKY_CONFIG" >"$TOP/other.json"
    before=$(traces)
    run -77 sky-vm-run --config "$TOP/other.json" host-setup --undo --data
    says "holds nothing of Skyflake's"
    [ "$(cat "$TOP/photos/one")" = dear ]
    [ "$(traces)" = "$before" ]
}

@test "--undo --data says what it could not remove, and goes on once it can" {
    mkdir "$TOP/state/vm/mounted"
    mount -t tmpfs none "$TOP/state/vm/mounted"
    run sky-vm-run host-setup --undo --data
    umount "$TOP/state/vm/mounted"
    [ "$status" = 71 ]
    says "cannot remove all of '$TOP/state/vm': Device or resource busy"
    [ -e "$SKY_CONFIG" ]
}

@test "--undo --data leaves nothing" {
    sky-vm-run host-setup --undo --data
    [ -z "$(traces)" ]
    [ ! -e "$TOP/state" ] && [ ! -e "$TOP/etc" ]
}
