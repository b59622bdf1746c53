#!/usr/bin/env bats
# Manifests as a tenant writes them who chooses every byte. The branch moves (it was built and cached), the machine does
# not start, the push says why.
# shellcheck disable=SC2016 # words of nix
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree manifests
}
setup() {
    cd "$WORK" || return
    configure --arg t "$(account alice)" '.tenants[$t].quota.machines = 60 | .machine.ready_s = 20 | .machine.stop_s = 1'
}
teardown() {
    drop_machines
    restore_config
}

@test "a manifest that is no file, or no JSON, or says things twice, or is too large, does not reach the cache" {
    local file='from (identity: build "skyflake-forged"'
    flake link="$file \"mkdir \$out; ln -s /etc/passwd \$out/manifest.json\")" \
        directory="$file \"mkdir -p \$out/manifest.json\")" \
        top="$file \"echo {} > \$out\")" \
        toplink="$file \"ln -s /etc \$out\")" \
        none="$file \"mkdir \$out\")" \
        deep="$file \"mkdir -p \$out/x; echo {} > \$out/x/manifest.json\")" \
        large="$file \"mkdir \$out; dd if=/dev/zero bs=1024 count=2048 | tr '\\\\\\\\0' ' ' > \$out/manifest.json\")" \
        twice='text (_: "{\"v\":1,\"v\":1}")' \
        nested='text (_: builtins.concatStringsSep "" (builtins.genList (i: if i < 500 then "[" else "]") 1000))' \
        array='text (_: "[]")' \
        bytes='text (_: "{\"a\":\"x")'
    run -1 push main:link main:directory main:top main:toplink main:none main:deep main:large main:twice main:nested \
        main:array main:bytes
    local each
    for each in link directory top toplink none deep; do refused $each "the deployment has no file manifest.json"; done
    refused large "manifest.json is larger than 1048576 bytes"
    refused twice "manifest.json: key 'v' stands there twice"
    refused nested "manifest.json: nested deeper than 64 levels"
    refused array "manifest.json: expected an object"
    refused bytes "manifest.json: not JSON"
    plain
    # Twin: who opens the file by its name in the cell reads the host's passwd.
    local deployment
    deployment=$(readlink "$SKY_HOST/state/tenants/$(account alice)/cell/nix/var/nix/gcroots/sky/$REPO.link")
    grep -q ^root: "$SKY_HOST/state/tenants/$(account alice)/cell$deployment/manifest.json"
}

@test "unknown keys, wrong types, numbers out of range: named by key, never by value" {
    flake good='asks { }' \
        unknown='asks { sudo = "secret-value"; }' \
        control='asks { "\t\r\n[2Jx" = 1; }' \
        version='asks { v = 2; }' \
        vcpu='asks { vcpu = 0; }' \
        manycpu='asks { vcpu = 5000; }' \
        mem='asks { mem_mib = -1; }' \
        float='asks { mem_mib = 64.5; }' \
        hugemem='text (i: builtins.replaceStrings ["\"mem_mib\":64"] ["\"mem_mib\":18446744073709551680"] (builtins.toJSON (manifest i { })))' \
        string='asks { mem_mib = "64"; }' \
        nullv='asks { ready = null; }' \
        port='asks { ready = { type = "tcp"; port = 65536; }; }' \
        poweroff='asks { on_poweroff = "panic"; }' \
        store='asks { store = "host"; }'
    run -1 push main:good main:unknown main:control main:version main:vcpu main:manycpu main:mem main:float main:hugemem \
        main:string main:nullv main:port main:poweroff main:store
    says "=====> good running on n1"
    says "unknown: manifest.sudo: unknown key"
    says_not secret-value
    says "version: manifest.v: expected"
    says "vcpu: manifest.vcpu: expected a whole number from 1 to 4096"
    says "manycpu: manifest.vcpu: expected"
    local each
    for each in mem float string; do says "error: $each: manifest.mem_mib: expected a whole number"; done
    says "error: hugemem: manifest.json: a number in it is out of range"
    says "nullv: manifest.ready: missing"
    says "port: manifest.ready.port: expected"
    says "poweroff: manifest.on_poweroff: expected"
    says "store: manifest.store: expected"
    plain
    # The one that asks for what it may have runs: all the others differ from it in one place. That is their twin.
    is_up good
}

@test "numbers and names within the schema and beyond what the operator grants" {
    flake mem='asks { mem_mib = 4096; }' \
        vcpu='asks { vcpu = 64; }' \
        disk='asksFor (i: { volumes = [ ((builtins.head (manifest i { }).volumes) // { size_mib = 1000000; }) ]; })' \
        hypervisor='asks { hypervisor = "crosvm"; }' \
        system='asks { system = "riscv64-linux"; }' \
        mac='asksFor (i: { interfaces = [ (interface i { mac = "02:5f:00:00:00:01"; }) ]; })' \
        network='asksFor (i: { interfaces = [ (interface i { network = "management"; }) ]; })' \
        twonets='asksFor (i: { interfaces = [ (interface i { }) (interface i { id = "sky1"; mac = builtins.elemAt i.macs 1; }) ]; })' \
        tap='asksFor (i: { interfaces = [ (interface i { id = "eth0"; }) ]; })' \
        queues='asksFor (i: { interfaces = [ (interface i { queues = 9; }) ]; })' \
        identity='asks { machine_id = "00000000-0000-4000-8000-000000000001"; }' \
        class='asksFor (i: { volumes = [ ((builtins.head (manifest i { }).volumes) // { class = "ceph"; }) ]; })' \
        outside='asks { runner = "/nix/store/00000000000000000000000000000000-microvm"; }' \
        notop='asks { toplevel = "/nix/store/00000000000000000000000000000000-system"; }'
    run -1 push main:mem main:vcpu main:disk main:hypervisor main:system main:mac main:network main:twonets main:tap \
        main:queues main:identity main:class main:outside main:notop
    says "mem: mem_mib: asked 4096, allowed 2048 for a machine"
    says "vcpu: vcpu: asked 64, allowed 4 for a machine"
    says "disk: disk_mib: asked 1000000, used"
    says "hypervisor: hypervisor: asked crosvm, allowed qemu"
    says "system: system: this host runs x86_64-linux"
    says "mac: mac of sky0: built for another identity"
    says "network: network: no network 'management' for you"
    says "twonets: network: 'default' twice"
    says "tap: manifest.interfaces[0].id: expected sky0, sky1, ... in"
    says "queues: queues of sky0: asked 9, allowed 1 or 1"
    says "identity: machine_id: built for another identity"
    says "class: volume 'root': asked class 'ceph', allowed 'local'"
    says "outside: runner: not in the closure of the deployment"
    says "notop: toplevel: not in the closure of the deployment"
    # Twin: an operator who allows more.
    configure '.machine.mem_max_mib = 8192' && configure --arg t "$(account alice)" '.tenants[$t].quota.mem_mib = 8192'
    run -0 sky redeploy "$REPO/mem"
    is_up mem
}

@test "quotes, newlines, \${ and escapes in each string" {
    local bad=evil
    flake volume="asksFor (i: { volumes = [ ((builtins.head (manifest i { }).volumes) // { name = $bad; }) ]; })" \
        class="asksFor (i: { volumes = [ ((builtins.head (manifest i { }).volumes) // { class = $bad; }) ]; })" \
        mount="asksFor (i: { volumes = [ ((builtins.head (manifest i { }).volumes) // { mount = $bad; }) ]; })" \
        network="asksFor (i: { interfaces = [ (interface i { network = $bad; }) ]; })" \
        mac="asksFor (i: { interfaces = [ (interface i { mac = $bad; }) ]; })" \
        id="asksFor (i: { interfaces = [ (interface i { id = $bad; }) ]; })" \
        hypervisor="asks { hypervisor = $bad; }" system="asks { system = $bad; }" \
        machineid="asks { machine_id = $bad; }" runner="asks { runner = \"/nix/store/\" + $bad; }" \
        top="asks { toplevel = $bad; }" ready="asks { ready = { type = $bad; }; }" \
        poweroff="asks { on_poweroff = $bad; }" key="asks { \${$bad} = 1; }"
    run -1 push main:volume main:class main:mount main:network main:mac main:id main:hypervisor main:system main:machineid \
        main:runner main:top main:ready main:poweroff main:key
    says "volume: manifest.volumes[0].name: expected a valid name"
    says "class: manifest.volumes[0].class: expected a valid name"
    says "mount: manifest.volumes[0].mount: expected an absolute path"
    says "network: manifest.interfaces[0].network: expected a valid name"
    says "mac: manifest.interfaces[0].mac: expected six pairs of"
    says "id: manifest.interfaces[0].id: expected sky0, sky1, ... in order"
    says "hypervisor: manifest.hypervisor: expected the name of a"
    says "system: system: this host runs"
    says "machineid: manifest.machine_id: expected 8-4-4-4-12 lower-case"
    says "runner: manifest.runner: expected a store path"
    says "top: manifest.toplevel: expected a store path"
    says "ready: manifest.ready.type: expected \"none\", \"tcp\" or \"notify\""
    says "poweroff: manifest.on_poweroff: expected \"restart\" or \"stay\""
    says "key: manifest.x????[2J?]0;pwned?\"'\$(touch" # the key, and of it what a terminal takes for text
    plain
    [ -z "$(find / /tmp /var/tmp "$SKY_HOST" -maxdepth 2 -name pwned)" ]
    # Twin: the same name in a script and on a terminal.
    local name
    name=$(jq -r '.manifest.volumes[0].name' "$SKY_HOST/state/deployments/$(account alice)/$REPO/volume/$(git rev-parse HEAD).json")
    (cd "$BATS_TEST_TMPDIR" && bash -c "true $name\"") || true
    [ -e "$BATS_TEST_TMPDIR/pwned" ]
    output=$name
    run ! plain
}
