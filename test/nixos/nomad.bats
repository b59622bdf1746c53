#!/usr/bin/env bats
# A cluster's Nomad from the module's settings and scripts: certificates, first tokens, a backup, and all of it lost.
bats_require_minimum_version 1.5.0

scripts=$BATS_TEST_DIRNAME/../../nixos-module/scripts libexec=$BATS_TEST_DIRNAME/../../libexec
port=${SKY_PORT:-17020}

setup_file() {
    # Tenants go through it.
    DIR=$(mktemp -d /tmp/sky-nixos.XXXXXX) && chmod 0755 "$DIR"
    export DIR
    export NOMAD_ADDR=https://127.0.0.1:$port NOMAD_CACERT=$DIR/keys/n1/nomad-ca.pem NOMAD_TLS_SERVER_NAME=server.global.nomad \
        NOMAD_CLIENT_CERT=$DIR/keys/n1/nomad-cli.pem NOMAD_CLIENT_KEY=$DIR/keys/n1/nomad-cli.key
    mkdir -p "$DIR/bin" "$DIR/shared" "$DIR/backups"
    ln -s "$NOMAD" "$DIR/bin/nomad"
    export PATH=$DIR/bin:$PATH
}
teardown_file() {
    stop
    cat "$DIR"/n[34].group 2>/dev/null | xargs -r -I{} kill -KILL -- -{} || true
    rm -rf "$DIR"
}

# The module's settings for n1, alone and on this machine's loopback; it runs nothing.
start() {
    jq --arg dir "$DIR" --argjson port "$port" '.data_dir = $dir + "/nomad" | .bind_addr = "127.0.0.1" | .addresses.http = "127.0.0.1"
        | .advertise = {http: "127.0.0.1", rpc: "127.0.0.1", serf: "127.0.0.1"} | .ports = {http: $port, rpc: ($port + 1), serf: ($port + 2)}
        | .server.bootstrap_expect = 1 | .server.server_join.retry_join = [] | .client = {enabled: false}
        | .tls.ca_file = $dir + "/keys/n1/nomad-ca.pem" | .tls.cert_file = $dir + "/keys/n1/nomad-agent.pem"
        | .tls.key_file = $dir + "/keys/n1/nomad-agent.key"' "$BATS_TEST_DIRNAME/../golden/host/cluster/nomad.json" >"$DIR/agent.json"
    mkdir -p "$DIR/nomad"
    setsid nomad agent -config "$DIR/agent.json" -config "$DIR/keys/n1/nomad-gossip.hcl" >>"$DIR/nomad.log" 2>&1 </dev/null 3>&- &
    echo $! >"$DIR/nomad.pid"
    soon has_leader
}
stop() {
    local pid
    pid=$(cat "$DIR/nomad.pid") || return 0
    rm "$DIR/nomad.pid"
    kill -KILL "$pid" 2>/dev/null || true
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
}
soon() {
    local n
    for ((n = 0; n < 300 * ${SKY_PATIENCE:-1}; n++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    "$@" || { tail -n 20 "$DIR/nomad.log" && return 1; }
}
has_leader() { [[ $(nomad operator api /v1/status/leader) == *:* ]]; }
record() { with host var get -namespace skyflake -out json "$1" | jq -r .Items.json | jq -c "$2"; }
owned() { # GENERATION: n1 has alice's www
    with host var put -force -namespace skyflake sky/owner/alice/infra/www json='{"v":1,"generation":'"$1"',"host":"n1","incarnation":"5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f","alloc":null,"create_index":7,"storage":["10.0.0.1:0/1"],"leased":true,"opened":true,"released":false,"at":"2026-07-14T12:00:00Z"}'
}
with() { NOMAD_TOKEN=$(cat "$DIR/secrets/nomad-$1.token") nomad "${@:2}"; }

@test "nixos: make-nomad gives each host certificates that agents ask for, and keeps them" {
    cd "$DIR" || return
    sh "$scripts/make-nomad.sh" keys --servers "n1 n2" --clients n3
    cp keys/n1/nomad-agent.pem before
    sh "$scripts/make-nomad.sh" keys --servers "n1 n2" --clients "n3 n4"
    cmp before keys/n1/nomad-agent.pem
    local host
    for host in n1 n2 n3 n4; do openssl verify -CAfile keys/ca.pem "keys/$host/nomad-agent.pem" "keys/$host/nomad-cli.pem"; done
    openssl x509 -in keys/n1/nomad-agent.pem -noout -ext subjectAltName | grep -F server.global.nomad
    openssl x509 -in keys/n4/nomad-agent.pem -noout -ext subjectAltName | grep -F client.global.nomad
    run ! grep -q server.global.nomad <<<"$(openssl x509 -in keys/n4/nomad-agent.pem -noout -ext subjectAltName)"
    [ ! -e keys/n4/nomad-gossip.hcl ]
    [ -z "$(find keys/n? -name ca.key)" ]
    [ -z "$(find keys -perm /077)" ]
}

@test "nixos: an openssl that fails leaves no key that is none, and the next call makes the rest" {
    cd "$BATS_TEST_TMPDIR" || return
    # In the place of openssl, to fail at its Nth call; the Nth is the first that it is not asked for.
    mkdir fails
    # shellcheck disable=SC2016 # the script's
    printf '%s\n' '#!/bin/sh' 'echo x >>calls' '[ "$(wc -l <calls)" -lt "$AT" ] || exit 1' "exec $(command -v openssl) \"\$@\"" >fails/openssl
    chmod +x fails/openssl
    local at code=1
    for ((at = 1; code != 0; at++)); do
        [ "$at" -lt 40 ]
        rm -rf calls keys
        code=0
        AT=$at PATH=$PWD/fails:$PATH sh "$scripts/make-nomad.sh" keys --servers n1 --clients n2 2>said || code=$?
        [ "$code" = 0 ] || grep -q '^make-nomad: error: ' said
        sh "$scripts/make-nomad.sh" keys --servers n1 --clients n2
        grep -qE '^  encrypt = "[A-Za-z0-9+/]{43}="$' keys/n1/nomad-gossip.hcl
        for each in cli n1/nomad-agent n2/nomad-agent; do
            openssl verify -CAfile keys/ca.pem "keys/$each.pem" >/dev/null
            [ "$(openssl x509 -in "keys/$each.pem" -noout -pubkey)" = "$(openssl pkey -in "keys/$each.key" -pubout)" ]
        done
        [ -z "$(find keys -name '*.new' -o -name '*.csr' -o -name '*.ext')" ]
    done
    [ "$at" -gt 8 ]
}

@test "nixos: nomad-bootstrap makes the tokens of the hosts, once" {
    mkdir -p "$DIR/secrets"
    start
    sh "$libexec/nomad-bootstrap" "$BATS_TEST_DIRNAME/../../nomad" "$DIR/secrets"
    sha256sum "$DIR"/secrets/* >"$DIR/before"
    sh "$libexec/nomad-bootstrap" "$BATS_TEST_DIRNAME/../../nomad" "$DIR/secrets"
    sha256sum -c "$DIR/before"
    with host var put -namespace skyflake sky/registry/head json='{"v":1,"commit":{"serial":1,"by":"5d0c6b1c9e0f4a2f"},"next_index":8,"parts":{}}'
    owned 3
    with host var put -namespace skyflake sky/lease/n1 json='{"v":1,"host":"n1","incarnation":"5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f","serial":17,"lease_s":30,"revoked":false,"claims":[],"at":"2026-07-14T12:00:00Z"}'
    run ! with host job run - <<<'job "x" {}'
    [[ $(with deploy var get -namespace skyflake -out json sky/lease/n1) == *incarnation* ]]
    run ! with deploy var get -namespace skyflake -out json sky/registry/head
    # Without a certificate of ours nobody gets an answer.
    run ! env -u NOMAD_CLIENT_CERT -u NOMAD_CLIENT_KEY nomad operator api /v1/status/leader
    # And without a token none that is worth anything.
    run ! env -u NOMAD_TOKEN nomad var get -namespace skyflake sky/registry/head
}

@test "nixos: a backup is whole, by whose files they are, and the oldest go" {
    local tree=$DIR/shared n
    mkdir -p "$tree"/tenants/{alice,bob}/repos/infra.git/objects "$tree"/{keys,records/alice,deployments,gcroots,authorized_keys}
    echo '{"v":1,"next_uid":3003,"tenants":{"bob":{"uid":3002}}}' >"$tree/tenants.json"
    echo restrict >"$tree/authorized_keys/bob"
    echo '{"v":1,"storage":"5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f"}' >"$tree/storage.json"
    echo ref: refs/heads/www >"$tree/tenants/alice/repos/infra.git/HEAD"
    echo secret >"$tree/keys/alice.key"
    echo '{"v":1}' >"$tree/records/alice/www.json"
    chown -R 3001:3001 "$tree/tenants/alice/repos" && chown -R 3002:3002 "$tree/tenants/bob/repos"
    chown -R games:games "$tree/keys" "$tree/records" "$tree/deployments" "$tree/gcroots"
    chmod 0700 "$tree"/tenants/*/repos "$tree/keys"
    jq --arg tree "$tree" '.shared = $tree | .nomad += { addresses: [env.NOMAD_ADDR], tls_name: env.NOMAD_TLS_SERVER_NAME, ca: env.NOMAD_CACERT,
        cert: env.NOMAD_CLIENT_CERT, key: env.NOMAD_CLIENT_KEY }' "$BATS_TEST_DIRNAME/../golden/host/cluster/config.json" >"$DIR/config.json"
    # How Nomad is reached stands in the configuration: a unit has nothing else.
    unset NOMAD_ADDR NOMAD_CACERT NOMAD_CLIENT_CERT NOMAD_CLIENT_KEY NOMAD_TLS_SERVER_NAME
    backup() { sh "$libexec/backup" "$DIR/config.json" "$DIR/backups" 2 "$DIR/secrets/nomad-backup.token"; }
    run -78 sh "$libexec/backup" "$DIR/config.json" "$DIR/backups" 2 "$DIR/secrets/nomad-other.token"
    [[ $output == *"needs a token"* ]]
    run -69 backup
    [[ $output == *"is it mounted?"* ]]
    touch "$DIR/backups/skyflake-backup"
    # What only root reads is in nobody's archive, whatever a tenant's directory leads to.
    (umask 077 && mkdir "$DIR/roots" && echo "of root" >"$DIR/roots/file")
    ln -s "$DIR/roots" "$tree/tenants/bob/repos/away.git"
    mkdir "$DIR/backups/n1-2-20200101T000000Z" # another host's, which may be called so
    for n in 1 2 3; do
        backup
        sleep 1.1
    done
    rmdir "$DIR/backups/n1-2-20200101T000000Z"
    [ "$(find "$DIR/backups" -mindepth 1 -type d -name 'n1-*' | wc -l)" = 2 ]
    [ -z "$(find "$DIR/backups" -mindepth 1 -perm /077 ! -name skyflake-backup ! -path '*/storage.json' ! -path '*/tenants.json' ! -path '*/config.json')" ]
    newest=$(find "$DIR/backups" -name 'n1-*' | sort | tail -n 1)
    zstd -dcq "$newest/tenants/alice.tar.zst" | tar -t | grep -qx repos/infra.git/HEAD
    run ! grep -q "of root" <<<"$(zstd -dcq "$newest/tenants/bob.tar.zst" | tar -xO 2>/dev/null)"
    [ -s "$newest/nomad.snap" ]
    # A file that its owner can not read is no whole backup.
    mkdir "$tree/tenants/alice/repos/roots.git" && chmod 0700 "$tree/tenants/alice/repos/roots.git"
    run -74 backup
    rmdir "$tree/tenants/alice/repos/roots.git"
}

@test "nixos: all servers and the shared directory are lost, and come back from a backup" {
    local backup tree=$DIR/shared
    backup=$(find "$DIR/backups" -name 'n1-*' | sort | tail -n 1)
    owned 4 # after the backup: who has it may live on
    stop
    rm -rf "$DIR/nomad" "$tree.lost" && mv "$tree" "$tree.lost"
    start
    NOMAD_TOKEN=$(nomad acl bootstrap -json | jq -re .SecretID)
    NOMAD_TOKEN=$NOMAD_TOKEN nomad operator snapshot restore "$backup/nomad.snap"
    stop
    start
    # The hosts' tokens are what they were, and so is the registry.
    soon with host var get -namespace skyflake -out json sky/registry/head
    [[ $(with host var get -namespace skyflake -out json sky/registry/head) == *'next_index'* ]]
    # But nobody of the time that was lost is a machine's owner, nor holds a lease.
    [ "$(record sky/owner/alice/infra/www .generation)" = 3 ]
    sh "$libexec/restore-owners" "$DIR/secrets/nomad-host.token"
    [ "$(record sky/owner/alice/infra/www '[.generation > 1000, .released, .host, .storage]')" = '[true,false,"n1",["10.0.0.1:0/1"]]' ]
    [ "$(record sky/lease/n1 '[.revoked, .serial]')" = '[true,17]' ]

    # As `storage init` and `host-start` leave it.
    mkdir -p "$tree"/tenants/alice/repos "$tree"/{keys,records,deployments,gcroots,authorized_keys}
    cp "$backup/storage.json" "$tree/"
    run -75 sh "$libexec/restore" "$DIR/config.json" "$backup"
    [[ $output == *"tenant 'bob' has no directory yet"* ]]
    cmp "$backup/tenants.json" "$tree/tenants.json"
    mkdir -p "$tree/tenants/bob/repos"
    chown 3001:3001 "$tree/tenants/alice/repos" && chown 3002:3002 "$tree/tenants/bob/repos"
    chown games:games "$tree"/{keys,records,deployments,gcroots}
    chmod 0755 "$DIR" "$tree" "$tree/tenants" "$tree"/tenants/*
    sh "$libexec/restore" "$DIR/config.json" "$backup"
    diff -r --no-dereference "$tree.lost/tenants" "$tree/tenants"
    diff -r "$tree.lost/keys" "$tree/keys"
    diff -r "$tree.lost/authorized_keys" "$tree/authorized_keys"
    [ "$(stat -c %u:%a "$tree/tenants/alice/repos/infra.git/HEAD")" = "$(stat -c %u:%a "$tree.lost/tenants/alice/repos/infra.git/HEAD")" ]
    run -65 sh "$libexec/restore" "$DIR/config.json" "$backup"
    [[ $output == *"is not empty"* ]]
    jq '.storage = "00000000000000000000000000000000"' "$tree/storage.json" >"$DIR/other" && cp "$DIR/other" "$tree/storage.json"
    run -69 sh "$libexec/restore" "$DIR/config.json" "$backup"
}

# A host whose machines may leave: an agent that is a client. It boots again 3 s after it was told to.
client() { # HOST PORT
    jq -n --arg dir "$DIR" --arg host "$1" --argjson port "$2" --argjson server "$port" '{ name: $host, region: "global", data_dir: ($dir + "/" + $host), bind_addr: "127.0.0.1",
        advertise: { http: "127.0.0.1", rpc: "127.0.0.1", serf: "127.0.0.1" }, ports: { http: $port, rpc: ($port + 1), serf: ($port + 2) }, client: { enabled: true, options: { "fingerprint.denylist": "env_aws,env_azure,env_digitalocean,env_gce" }, servers: ["127.0.0.1:\($server + 1)"] },
        acl: { enabled: true }, tls: { http: true, rpc: true, verify_server_hostname: true, ca_file: ($dir + "/keys/n1/nomad-ca.pem"),
            cert_file: ($dir + "/keys/" + $host + "/nomad-agent.pem"), key_file: ($dir + "/keys/" + $host + "/nomad-agent.key") } }' >"$DIR/$1.json"
    cat /proc/sys/kernel/random/uuid >"$DIR/$1.boot"
    # shellcheck disable=SC2016 # for that bash
    setsid bash -c 'echo $$ >"$0.group"; nomad agent -config "$0.json" >>"$0.log" 2>&1 &
        echo $! >"$0.pid"; wait' "$DIR/$1" </dev/null >/dev/null 2>&1 3>&- &
    until [ -s "$DIR/$1.pid" ]; do sleep 0.1; done
}
ready() { [ "$(with drain node status -json | jq '[.[] | select(.Status == "ready" and .SchedulingEligibility == "eligible")] | length')" = "$1" ]; }

@test "nixos: rolling-reboot goes from host to host, and waits for Nomad and Ceph" {
    local log=$DIR/rolling
    client n3 $((port + 10))
    client n4 $((port + 20))
    soon ready 2 || { tail -n 20 "$DIR"/n[34].log && return 1; }
    # There is no host to boot here, and Ceph's health is said for it: degraded for a while after each boot.
    mkdir -p "$DIR/tools" "$DIR/state"
    cat >"$DIR/tools/ssh" <<END
#!/bin/bash
host=\${2#root@}
[ "\$3" != cat ] || exec cat "$DIR/\$host.boot"
echo "boot \$host \$(nomad node status -json | jq -c --arg h "\$host" '.[] | select(.Name == \$h).SchedulingEligibility')" >>"$log"
echo '{"status":"HEALTH_WARN","checks":{"PG_DEGRADED":{},"OSDMAP_FLAGS":{}}}' >"$DIR/health"
kill "\$(cat "$DIR/\$host.pid")"
setsid bash -c 'echo \$\$ >"\$0.group"; sleep 3; cat /proc/sys/kernel/random/uuid >"\$0.boot"
    nomad agent -config "\$0.json" >>"\$0.log" 2>&1 &
    echo \$! >"\$0.pid"; sleep 3; echo {} >"$DIR/health"; echo "whole \${0##*/}" >>"$log"; wait' "$DIR/\$host" >/dev/null 2>&1 </dev/null 3>&- &
exit 255
END
    cat >"$DIR/tools/ceph" <<END
#!/bin/sh
[ "\$1" = health ] && exec cat "$DIR/health"
echo "ceph \$*" >>"$log"
END
    chmod 755 "$DIR"/tools/*
    echo '{}' >"$DIR/health"
    jq --arg dir "$DIR" --arg address "$NOMAD_ADDR" '.state = $dir + "/state" | .shared = .state
        | .nomad += { addresses: [$address], ca: env.NOMAD_CACERT, cert: env.NOMAD_CLIENT_CERT, key: env.NOMAD_CLIENT_KEY }
        | .program_roots = ["/usr"]' "$BATS_TEST_DIRNAME/../golden/host/cluster/config.json" >"$DIR/submit.json"
    jq '{ v: 1, storage }' "$DIR/submit.json" >"$DIR/state/storage.json"
    roll() { NOMAD_TOKEN=$(cat "$DIR/secrets/nomad-drain.token") ROLLING_PAUSE=1 SKY_CONFIG=$DIR/submit.json PATH=$DIR/tools:$PATH \
        sh "$libexec/rolling-reboot" --ceph --wait 120 "$@"; }
    roll n3 n4
    cat "$log"
    [ "$(cat "$log")" = 'ceph osd set noout
boot n3 "ineligible"
whole n3
ceph osd unset noout
ceph osd set noout
boot n4 "ineligible"
whole n4
ceph osd unset noout' ]
    ready 2
    # What is not whole before is left alone; what does not become whole ends it, before the next host.
    echo '{"status":"HEALTH_WARN","checks":{"OSD_DOWN":{}}}' >"$DIR/health"
    run -75 roll n3
    [[ $output == *"before n3: OSD_DOWN (nothing was touched)"* ]]
    echo '{}' >"$DIR/health"
    sed -i 's/sleep 3; cat/sleep 1000; cat/' "$DIR/tools/ssh"
    : >"$log"
    run -75 roll --wait 5 n3 n4
    [[ $output == *"n3: n3 has not booted again"* ]]
    run ! grep -q n4 "$log"
}

@test "nixos: doctor says which of Nomad's addresses does not answer" {
    jq '.nomad.addresses += ["https://127.0.0.1:9"]' "$DIR/submit.json" >"$DIR/ports.json"
    run -1 --separate-stderr sky-vm-run --config "$DIR/ports.json" doctor --json
    [ "$(jq -r 'select(.check == "ports") | "\(.state) \(.text | split(": ")[0])"' <<<"$output")" = "good $NOMAD_ADDR
warning https://127.0.0.1:9" ]
    jq -r 'select(.check == "ports" and .state == "warning").way' <<<"$output" | grep -q 4647
}
