#!/usr/bin/env bats
# Flakes that try to read the host, to be somebody else, and to put their own words where a host or a person reads them.
# shellcheck disable=SC2016 # words of nix
load ../lib/hostile

setup_file() {
    load ../lib/hostile
    keep_config
    work_tree flakes
    export SECRET=$SKY_HOST/secret # for anybody to read
    mkdir -p "$SECRET"
}
setup() {
    cd "$WORK" || return
    configure --arg t "$(account alice)" '.tenants[$t].quota.machines = 60 | .machine.ready_s = 30 | .machine.stop_s = 1'
}
teardown() { restore_config; }
teardown_file() {
    drop_machines
    WORK=$BATS_FILE_TMPDIR/bob-shown drop_machines
    rm -rf "$SECRET"
}

new_word() { TOLD="the word of the host: $RANDOM" && echo "$TOLD" >"$SECRET/word" && touch -d @1 "$SECRET" "$SECRET/word"; } # no twin has it in its store yet
secret_hash() { nix --extra-experimental-features nix-command hash path "$SECRET"; }
shows_secret() { rewrite bwrap "s|^--unshare-user\$|&\x00--ro-bind\x00$SECRET\x00$SECRET|"; }

@test "readFile of the host's files: evaluation is pure, and a cell has none of them" {
    flake www='throw (builtins.readFile "/etc/passwd")'
    run -1 push main:www
    refused www "access to absolute path '/etc/passwd' is forbidden"
    # Twin: impure evaluation, which shows the cell's own.
    rewrite bwrap 's/^eval$/eval\x00--impure/'
    run -1 push main:www
    refused www "nix:x:1000:100:nix:/home:/bin/sh"
    # Twin: no cell either.
    run -0 as alice nix --extra-experimental-features nix-command --store dummy:// eval --impure --raw \
        --expr 'builtins.readFile "/etc/passwd"'
    says "root:x:0:0"
}

@test "fetchTree of a path, with the right hash, so that it is pure" {
    new_word
    flake www="throw (builtins.readFile \"\${builtins.fetchTree { type = \"path\"; path = \"$SECRET\"; narHash = \"$(secret_hash)\"; }}/word\")"
    run -1 push main:www
    refused www ""
    says "getting status of"
    says_not "$TOLD"
    shows_secret # Twin: a cell that has it.
    run -1 push main:www
    refused www "$TOLD"
}

@test "a lock file's node of type path" {
    new_word
    cat >flake.nix <<'END'
{
  inputs.secret = { url = "path:SECRET"; flake = false; };
  outputs = { self, nixpkgs, secret }: { nixosConfigurations.www = throw (builtins.readFile "${secret}/word"); };
}
END
    sed -i "s|SECRET|$SECRET|" flake.nix
    jq -n --arg path "$SECRET" --arg hash "$(secret_hash)" '{version: 7, root: "root", nodes: {root: {inputs: {secret: "secret"}},
        secret: {flake: false, locked: {type: "path", path: $path, narHash: $hash, lastModified: 1},
        original: {type: "path", path: $path}}}}' >flake.lock
    git add -A && git commit -q -m "a lock"
    run -1 push main:www
    refused www ""
    says "getting status of"
    says_not "$TOLD"
    shows_secret # Twin: a cell that has it.
    run -1 push main:www
    refused www "$TOLD"
    git rm -q flake.lock
}

@test "links in the tree that lead out of it" {
    flake www='throw (builtins.readFile ./passwd)' lock='throw (builtins.readFile ./up)'
    ln -sfn /etc/passwd passwd
    ln -sfn ../../../../../../../../../../etc/passwd up
    git add -A && git commit -q -m "links"
    run -1 push main:www main:lock
    refused www ""
    refused lock ""
    says_not "root:x:0"
    says_not "nix:x:1000" # not even the cell's
    git rm -q passwd up
    ln -sfn /etc/passwd flake.nix
    git add -A && git commit -q -m "flake.nix is a link"
    run -1 push main:www
    refused www "no flake.nix at the top of this commit"
    rm flake.nix
    # Twin: who follows the link outside.
    ln -sfn /etc/passwd passwd && grep -q ^root: passwd && rm passwd
}

@test "getEnv" {
    flake www='throw "<${builtins.getEnv "NIX_CONFIG"}${builtins.getEnv "PATH"}>"'
    run -1 push main:www
    refused www "<>"
    rewrite bwrap 's/^eval$/eval\x00--impure/' # Twin: impure
    run -1 push main:www
    refused www "<experimental-features = nix-command"
    # Twin: impure, and the environment of the door is not cleared on the way.
    flake www='throw "<${builtins.getEnv "LANG"}>"'
    rewrite bwrap 's/^eval$/eval\x00--impure/; s/^C.UTF-8$/C/; s/^--clearenv$/--setenv\x00LANG\x00x/'
    run -1 push main:www
    refused www "<C>" # the cell's own value is set after whatever came
}

@test "what the flake's nixConfig asks for does not count" {
    flake www='throw "evaluated"'
    sed -i '1s|^{|{ nixConfig = { pure-eval = false; sandbox = false; build-hook = "/home/x"; extra-sandbox-paths = "/etc"; };|' flake.nix
    sed -i 's|throw "evaluated"|throw (builtins.readFile "/etc/passwd")|' flake.nix
    git commit -q -am "its own configuration"
    run -1 push main:www
    refused www "access to absolute path '/etc/passwd' is forbidden"
    # Twin: accepted, the words of the flake are nix's: a builder that is not sandboxed sees more than /bin/sh.
    flake www='from (_: build "skyflake-x" "ls /bin/nix; exit 3")'
    run -1 push main:www
    says "/bin/nix: No such file"
    rewrite bwrap 's/sandbox = true/sandbox = false/'
    run -1 push main:www
    says_not "/bin/nix: No such file"
}

@test "escape sequences, carriage returns and false status lines in errors, names, traces and builds" {
    flake thrown='throw evil' traced='builtins.trace evil (throw "e")' warned='builtins.trace ("warning: " + evil) (throw "e")' \
        lines='throw "x\n ! [remote rejected] main -> other (forged)\nremote: forged\n=====> forged is running"' \
        builds='from (_: make "skyflake-x" "printf %s \"$evil\"; printf %s \"$evil\" >&2; exit 1" { inherit evil; })'
    run -1 push main:thrown main:traced main:warned main:lines main:builds main:nosuch
    local each
    for each in thrown traced warned lines builds; do refused $each ""; done
    refused nosuch "no nixosConfigurations.nosuch in this flake"
    plain
    # Each line of the remote's is git's "remote: "; none of the flake's lines begins as one of ours.
    run ! grep -qE '^( ! |=====>|error: forged|To )' <<<"$(grep -vE '^(remote: |To sky-| ! \[remote rejected\] main -> (thrown|traced|warned|lines|builds|nosuch) \(|error: failed to push)' <<<"$output")"
    # Twin: nix's own words.
    run -0 nix --extra-experimental-features nix-command --store dummy:// eval --impure --raw \
        --expr "(import $PWD/forged.nix { legacyPackages.x86_64-linux = { }; }).evil"
    run ! plain
}

@test "machines, inputs and derivations with names that are none" {
    cat >flake.nix <<'END'
{
  inputs."a[2J;b".url = "nixpkgs";
  outputs = { self, ... }: { nixosConfigurations = { "../../x" = { }; "a b" = { }; "é[31m" = { }; "-n" = { }; "$(id)" = { }; good = { }; }; };
}
END
    printf '%s' "$(sed 's/\[/\x1b[/g' flake.nix)" >flake.nix
    git add -A && git commit -q -m "names"
    run -1 push main:www
    plain
    says_not '$(id)'
    says_not '../../x'
    cp "$SKY_SOURCE/test/hostile/forged.nix" .
    flake dots='from (_: build "..x" "")' slash='from (_: build "a/b" "")' newline='from (_: build "a\nb" "")' \
        long='from (_: build (builtins.concatStringsSep "" (builtins.genList (_: "a") 300)) "")' \
        fake='{ extendModules = _: { pkgs.writeTextFile = _: { drvPath = "/etc/passwd"; outPath = "/etc"; }; }; }' \
        climb='{ extendModules = _: { pkgs.writeTextFile = _: { drvPath = "/nix/store/../../etc/passwd"; outPath = "/nix/store/.."; }; }; }' \
        option='{ extendModules = _: { pkgs.writeTextFile = _: { drvPath = "--help"; outPath = "--version"; }; }; }' \
        number='{ extendModules = _: { pkgs.writeTextFile = _: { drvPath = 1; outPath = [ ]; }; }; }' \
        more='{ extendModules = _: { pkgs.writeTextFile = _: { }; }; }'
    run -1 push main:dots main:slash main:newline main:long main:fake main:climb main:option main:number main:more
    local each
    refused dots "'"
    refused slash "store path '"
    refused newline "store path '"
    refused long "store path '"
    refused fake "'/etc/passwd' is not a store path)"
    refused climb "'../../etc/passwd' is not a store path)"
    refused option "'--help' is not a store path)"
    refused number "evaluation.derivation: expected a string)"
    refused more "attribute 'outPath' missing)"
    plain
}

@test "another tenant's store paths, named by appendContext" {
    work_tree shown bob
    flake www='from (_: make "skyflake-www" "mkdir $out; echo {} > $out/manifest.json; echo of bob > $out/word" { })'
    run -1 push main:www # its manifest is none, but it is built, cached and recorded
    local path
    path=$(jq -re .deployment "$SKY_HOST/state/deployments/$(account bob)/shown/www/$(git rev-parse HEAD).json")
    [ "$(cat "$SKY_HOST/state/tenants/$(account bob)/cell$path/word")" = "of bob" ]
    # Found out in whatever way, alice names it: as a source, as a derivation's input, as a runner, as a deployment.
    local named="(builtins.appendContext \"$path\" { \"$path\" = { path = true; }; })"
    local read="throw (builtins.readFile \"\${$named}/word\")" \
        input="from (_: make \"skyflake-x\" \"mkdir \$out; echo {} > \$out/manifest.json; cp \$word/word \$out\" { word = $named; })" \
        deployment="{ extendModules = _: { pkgs.writeTextFile = _: build \"x\" \"echo > \$out\" // { outPath = \"$path\"; }; }; }" \
        runner="asks { runner = \"$path\"; }"
    cd "$BATS_FILE_TMPDIR/alice-flakes" && export REPO=flakes TENANT=alice
    flake read="$read" input="$input" deployment="$deployment" runner="$runner"
    run -1 push main:read main:input main:deployment main:runner
    refused read ""
    refused input ""
    refused deployment ""
    says_not "of bob"
    says "runner: runner: not in the closure of the deployment" # text without context: named, not had
    [ ! -e "$SKY_HOST/state/tenants/$(account alice)/cell$path" ]
    # Twin: in the one cell that has it, the same words do get it.
    cd "$BATS_FILE_TMPDIR/bob-shown"
    flake input="$input"
    run -1 push main:input
    path=$(jq -re .deployment "$SKY_HOST/state/deployments/$(account bob)/shown/input/$(git rev-parse HEAD).json")
    [ "$(cat "$SKY_HOST/state/tenants/$(account bob)/cell$path/word")" = "of bob" ]
}

# In one boot: what a configuration says that was written for a host that runs runners as root.
@test "guarded by options ? microvm, forced scripts, shares, volumes and arguments run as nobody, where nothing is" {
    local state=$SKY_HOST/state
    cp "$SKY_SOURCE/test/hostile/forced.nix" "$SKY_SOURCE/test/e2e/flake/flake.nix" .
    sed -i "s|HOST_STATE|$state|g" forced.nix
    machines www="$(site forced)" share="$(site x)" volume="$(site x)"
    sed -i 's|modules = \[|modules = [ (import ./forced.nix name)|' flake.nix
    git add -A && git commit -q -m "forced"
    configure '.machine.ready_s = 100'
    run -1 push main:www main:share main:volume
    says "www running on n1"
    says "error: share: " # the hypervisor ended
    says "error: volume: "
    # The scripts ran, as the machine's uid; each try left a word on the console.
    console() { cat "$state/vm/$(account alice).flakes.$1/console.log"; }
    run -0 console www
    says "forced: uid=$(machine_uid www)"
    local each
    for each in passwd state proc1 store keys; do says "forced: no $each"; done
    says_not "forced: HAS"
    # A share of the host's and a disk of somebody else's: the hypervisor does not find them and ends.
    run -0 console share
    says "/etc"
    run -0 console volume
    says "$state/storage.json"
    # Twin: the same script, by a host that trusts runners.
    run -0 sh -c "$(sed -n "/# begin/,/# end/{ s|/nix/store|$BATS_TEST_TMPDIR|; p }" forced.nix)"
    for each in passwd state store keys; do says "forced: HAS $each"; done
}
