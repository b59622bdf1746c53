#!/usr/bin/env bats
# The guest module by itself, evaluated with the stand-ins for nixpkgs and microvm.nix.

bats_require_minimum_version 1.5.0

setup_file() {
    export STANDIN=$BATS_FILE_TMPDIR/standin
    "$SKY_SOURCE/test/standin/make" "$STANDIN" "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")"
    # A store of its own, so that nothing is written to the host's.
    export NIX=$BATS_FILE_TMPDIR/nix
    printf '#!/bin/sh\nexec nix --store "%s" --option build-users-group "" "$@"\n' "$BATS_FILE_TMPDIR/store" >"$NIX"
    chmod +x "$NIX"
}

# What sky-build evaluates, for the flake with these outputs; customization as well if it is there.
evaluate() { # OUTPUTS EXPRESSION
    "$NIX" --extra-experimental-features nix-command eval --impure --raw --expr "
        let
          guest = import $SKY_SOURCE/nixos-module/guest;
          pkgsFlake = (import $STANDIN/nixpkgs/flake.nix).outputs { self = { }; };
          microvm = (import $STANDIN/microvm/flake.nix).outputs { self = { }; };
          machineOf = module: pkgsFlake.lib.nixosSystem { system = \"x86_64-linux\"; modules = [ module ]; };
          flake = $1;
          identity = {
            index = 7;
            machineId = \"8c5f9a3e-7d41-4b1e-9c55-0123456789ab\";
            macs = [ \"02:5f:00:00:00:07\" \"02:5f:01:00:00:07\" \"02:5f:02:00:00:07\" \"02:5f:03:00:00:07\" ];
            rootMib = 2048;
          };
          deploy = machine: guest.deploy { inherit flake machine identity microvm; };
          manifest = machine: builtins.fromJSON (builtins.unsafeDiscardStringContext (deploy machine).text);
        in
        $2"
}
# shellcheck disable=SC2154 # bats' run sets stderr
refused() { # WORDS...
    local words
    for words; do
        [[ $stderr == *"$words"* ]] || { printf 'not said: %s\nin:\n%s\n' "$words" "$stderr" >&2; return 1; }
    done
}
www() { echo "{ nixosConfigurations.www = machineOf { $1 }; }"; }

@test "the stand-ins give what the real nixpkgs and microvm.nix gave" {
    "$SKY_SOURCE/test/drift" "$STANDIN/nixpkgs" "$STANDIN/microvm"
}

@test "a machine that is not in the flake is refused with those that are" {
    run -1 --separate-stderr evaluate '{ nixosConfigurations = { www = machineOf { }; db = machineOf { }; }; }' '(deploy "web").drvPath'
    refused 'no nixosConfigurations.web in this flake (it has: db, www)'
}

@test "a flake without machines is refused" {
    run -1 --separate-stderr evaluate '{ packages = { }; }' '(deploy "web").drvPath'
    refused 'no nixosConfigurations.web in this flake (it has none)'
}

@test "machines are listed without evaluating one" {
    run -0 --separate-stderr evaluate '{ nixosConfigurations = { www = throw "no"; db = throw "no"; }; }' 'toString (guest.machines flake)'
    [ "$output" = "db www" ]
}

@test "a configuration that nixosSystem did not make is refused" {
    run -1 --separate-stderr evaluate '{ nixosConfigurations.www = { config = { }; }; }' '(deploy "www").drvPath'
    refused 'nixosConfigurations.www has no extendModules'
}

@test "an option that does not exist is refused by its name" {
    run -1 --separate-stderr evaluate "$(www 'services.opensh.enable = true;')" '(deploy "www").drvPath'
    refused "The option \`services.opensh' does not exist"
}

@test "a value of the wrong type is refused by the option's name" {
    run -1 --separate-stderr evaluate "$(www 'deployment.mem = "much";')" '(deploy "www").drvPath'
    refused 'deployment.mem'
}

@test "more networks than addresses, and bad names, are refused" {
    run -1 --separate-stderr evaluate "$(www 'deployment.networks = [ "a" "b" "c" "d" "e" ];')" '(deploy "www").drvPath'
    refused 'deployment.networks has more than 4 entries'
    run -1 --separate-stderr evaluate "$(www 'deployment.volumes."../x".size = 1;')" '(deploy "www").drvPath'
    refused "the name of deployment.volumes '../x' must be"
}

@test "the root can be grown, and keeps its mount point" {
    run -0 --separate-stderr evaluate "$(www 'deployment.volumes.root.size = 9000;')" \
        'builtins.toJSON (builtins.head (manifest "www").volumes)'
    [ "$(jq -r '"\(.name) \(.size_mib) \(.mount)"' <<<"$output")" = "root 9000 /" ]
}

@test "each interface asks for its address, and takes the MTU that it is told" {
    run -0 --separate-stderr evaluate "$(www 'deployment.networks = [ "default" "back" ];')" '
        let guest = flake.nixosConfigurations.www.extendModules { modules = [
          microvm.nixosModules.microvm
          '"$SKY_SOURCE"'/nixos-module/guest/options.nix
          '"$SKY_SOURCE"'/nixos-module/guest/machine.nix
          '"$SKY_SOURCE"'/nixos-module/guest/network.nix
          { _module.args.skyflake = { machine = "www"; inherit identity; }; }
        ]; };
        in builtins.toJSON guest.config.systemd.network.networks'
    [ "$(jq -r '.[] | "\(.matchConfig.MACAddress) \(.networkConfig.DHCP) \(.dhcpV4Config.UseMTU)"' <<<"$output")" = \
        "02:5f:00:00:00:07 yes true"$'\n'"02:5f:01:00:00:07 yes true" ]
}

@test "the manifest says what the runner was made with, not what deployment.* says" {
    run -0 --separate-stderr evaluate "$(www 'deployment.vcpu = 1; microvm.vcpu = { _type = "override"; priority = 50; content = 4; };')" \
        'builtins.toJSON (manifest "www")'
    [ "$(jq -c '[.vcpu, .interfaces[0].queues]' <<<"$output")" = "[4,4]" ]
}

@test "two flakes that differ in nothing that a machine uses give the same deployment" {
    run -0 --separate-stderr evaluate "$(www '')" '(deploy "www").drvPath'
    local first=$output
    run -0 --separate-stderr evaluate '{ nixosConfigurations = { www = machineOf { }; other = machineOf { networking.hostName = "x"; }; }; rev = "0"; }' \
        '(deploy "www").drvPath'
    [ "$output" = "$first" ]
}
