#!/usr/bin/env bats
# Flakes that know nothing of Skyflake, without a lock, for either version of nix; what the operator refuses.
# shellcheck disable=SC2016 # $new is jq's
load ../lib/e2e

setup_file() {
    load ../lib/e2e
    work_tree flakes
}
setup() { cd "$WORK" || return; }
teardown_file() {
    drop_machines
    configure '.cell.root = $new' "$SKY_HOST/cell"
}

configure() { # FILTER [NEW]: changes the host's configuration; $new in the filter is NEW
    jq --arg new "${2:-}" "$1" "$SKY_CONFIG" >"$SKY_CONFIG.new" && mv "$SKY_CONFIG.new" "$SKY_CONFIG"
}

@test "the flake of the README that Skyflake began with, without a lock file, runs" {
    cp "$SKY_SOURCE/test/golden/guest/original.nix" flake.nix
    git add -A
    git commit -q -m "as in the README"
    run -0 push main:skytest1
    says nixpkgs # where the input without a lock comes from
    is_up skytest1
    eventually 120 ping -c 1 -W 1 -q "$(address skytest1)"
    [ -z "$(git ls-tree --name-only HEAD flake.lock)" ]
    run -0 push :skytest1
}

@test "the template's four machines run after one push" {
    cp "$SKY_SOURCE/template/four/flake.nix" .
    git add -A
    git commit -q -m "four machines"
    run -0 push HEAD:skytest1 HEAD:skytest2 HEAD:skytest3 HEAD:skytest4
    local each
    for each in 1 2 3 4; do is_up "skytest$each"; done
    run -0 push :skytest1 :skytest2 :skytest3 :skytest4
}

@test "nixpkgs.hostPlatform in place of system runs as well" {
    cat >flake.nix <<'EOF'
{
  outputs = { self, nixpkgs }: {
    nixosConfigurations.platform = nixpkgs.lib.nixosSystem {
      modules = [ { nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; } ];
    };
  };
}
EOF
    git add -A
    git commit -q -m "hostPlatform"
    run -0 push main:platform
    is_up platform
    run -0 push :platform
}

@test "a flake that does not evaluate is refused with what nix says" {
    echo '{ outputs = { self, nixpkgs }: { nixosConfigurations.www = nixpkgs.lib.nixosSystm { }; }; }' >flake.nix
    git add -A
    git commit -q -m "a typing error"
    run -1 push main:www
    says nixosSystm
    says '[remote rejected] main -> www'
}

@test "no flake.nix at all is refused with a sentence" {
    git rm -q --cached flake.nix
    rm flake.nix
    git commit -q -m "nothing"
    run -1 push main:www
    says flake.nix
    says '[remote rejected] main -> www'
}

@test "more than the quota is refused with the numbers asked, used and allowed" {
    cp "$BATS_TEST_DIRNAME/flake/flake.nix" .
    machines big="$(site "big" 'deployment.vcpu = 3; deployment.mem = 1900;')" \
        huge="$(site "huge" 'deployment.mem = 1000000;')"
    configure ".tenants[\"$(account alice)\"].quota.mem_mib = 1000"
    run -1 push main:big
    local refused=$output
    run push :big
    configure ".tenants[\"$(account alice)\"].quota.mem_mib = 4096"
    output=$refused
    says 1900
    says 1000
    run -1 push main:huge
    refused=$output
    run -0 push :huge
    output=$refused
    says 1000000
    says 2048 # the operator's limit for one machine
}

@test "a start that fails: the branch moved, the push says why and exits 1, so does the same again; a mended one runs" {
    configure '.machine.ready_s = 10'
    machines deaf="$(site "deaf" 'deployment.ready.tcp = 81;')" # nobody listens there
    run -1 push main:deaf
    says '[new branch]'
    says 'port 81'
    [ "$(branch deaf)" = "$(git rev-parse HEAD)" ]
    [[ $(field deaf .why) == *"port 81"* ]]
    run -1 push main:deaf
    says 'what runs is not: deaf: '
    configure '.machine.ready_s = 120'
    machines deaf="$(site "deaf no more" 'deployment.ready.tcp = 80;')"
    run -0 push main:deaf
    [ "$(page deaf)" = "deaf no more" ]
    run -0 push :deaf
}

@test "a machine that says itself when it is ready; one that does not say so is not" {
    configure '.machine.ready_s = 60'
    local says='deployment.ready.notify = true;'
    machines told="$(site "told" "$says")" \
        mute="$(site "mute" "$says"' module.systemd.services.skyflake-ready.enable = false;')"
    run -0 push main:told
    is_up told
    configure '.machine.ready_s = 15'
    run -1 push main:mute
    says "it did not say READY=1 on its console within 15 s"
    configure '.machine.ready_s = 120'
    run -0 push :told :mute
}

@test "a machine with a volume of its own and two CPUs" {
    machines disks="$(site "disks" 'deployment = { vcpu = 2; volumes.data = { size = 64; mountPoint = "/var/lib/data"; }; };
        run = "grep -c ^processor /proc/cpuinfo > /var/lib/site/cpus; mount > /var/lib/site/mounts";')"
    run -0 push main:disks
    [ "$(page disks cpus)" = 2 ]
    [[ $(page disks mounts) == */var/lib/data* ]]
    run -0 push :disks
}

@test "a machine that brings its store as a disk" {
    machines erofs="$(site "from a disk" 'deployment.store = "disk"; run = "mount > /var/lib/site/mounts";')"
    run -0 push main:erofs
    [ "$(page erofs)" = "from a disk" ]
    [[ $(page erofs mounts) != *virtiofs* ]]
    [ -z "$(processes_of_uid $(($(machine_uid erofs) + 2)))" ] # no virtiofsd
    run -0 push :erofs
}

@test "the operator's customization module is in every machine" {
    local before
    before=$(jq -r .cell.customization "$SKY_CONFIG")
    mkdir -p "$SKY_HOST/etc/custom"
    cat >"$SKY_HOST/etc/custom/default.nix" <<EOF
{
  imports = [ ($(cat "$before")) ];
  systemd.services.operator = {
    wantedBy = [ "multi-user.target" ];
    script = "mkdir -p /var/lib/site; echo the operator was here > /var/lib/site/operator; sleep 100000";
  };
}
EOF
    configure '.cell.customization = $new' "$SKY_HOST/etc/custom/default.nix"
    machines custom="$(site "customized")"
    run push main:custom
    configure '.cell.customization = $new' "$before"
    [ "$status" -eq 0 ]
    [ "$(page custom operator)" = "the operator was here" ]
    run -0 push :custom
}

@test "nix 2.26 as the cell's nix" {
    configure '.cell.root = $new' "$SKY_HOST/cell-2.26"
    work_tree newer carol
    machines www="$(site "by a newer nix")" bad='throw "not with this nix either"'
    run -1 push main:www main:bad
    says 'not with this nix either'
    [ "$(page www)" = "by a newer nix" ]
    drop_machines
}
