# A host of one tenant for sky-build: a cell, a guest module of a few lines, and a sudo behind which the service accounts
# are a few lines of jq.
# shellcheck shell=bash

TENANT_UID=43001 # nobody's here; sky-build needs no account

make_host() { # 2.8|2.26
    top=$(mktemp -d /var/tmp/sky-build.XXXXXX)
    chmod 0711 "$top"
    state=$top/state tenant=$state/tenants/alice
    mkdir -p "$tenant"/{repos,cell,builds,locks,outbox} "$top/bin"
    chmod 0711 "$state" "$state/tenants" "$tenant"
    chown $TENANT_UID:$TENANT_UID "$tenant"/{repos,cell,builds,locks,outbox}
    chmod 0700 "$tenant"/{repos,cell,builds,locks}
    chgrp games "$tenant/outbox"
    chmod 2750 "$tenant/outbox"
    echo '{"v":1,"storage":"00000000000000000000000000000001"}' >"$state/storage.json"
    "$SKY_SOURCE/test/lib/cell-root" "$SKY_CACHE/cell-$1" "$SKY_CACHE" "$1" >&2
    make_inputs
    make_sudo
    export SKY_CONFIG=$top/config.json
    jq -n --arg state "$state" --arg top "$top" --arg root "$SKY_CACHE/cell-$1" --argjson uid $TENANT_UID '{v: 1,
        host: "n1", $state, storage: "00000000000000000000000000000001", bin: ($top + "/bin"),
        programs: {sudo: ($top + "/bin/sudo")}, accounts: {cache: "bin", deploy: "games", dns: "nobody"},
        tenants: {alice: {$uid, quota: {}}},
        cell: {$root, guest: ($top + "/guest"), eval_s: 60, build_s: 60, jobs: 2,
            inputs: {nixpkgs: ($top + "/nixpkgs"), microvm: ($top + "/microvm")}}}' >"$SKY_CONFIG"
    chmod -R go+rX "$top/guest" "$top/nixpkgs" "$top/microvm" "$top/bin" "$SKY_CONFIG"
}

make_inputs() {
    mkdir -p "$top"/{guest,nixpkgs,microvm}
    echo '{ outputs = { self }: { lib.greet = name: "hello from " + name; }; }' >"$top/nixpkgs/flake.nix"
    echo '{ outputs = { self }: { version = "m1"; }; }' >"$top/microvm/flake.nix"
    cat >"$top/guest/default.nix" <<'EOF'
{
  machines = flake: builtins.attrNames (flake.nixosConfigurations or { });
  deploy = { flake, machine, identity, microvm, customization }:
    let
      asked = flake.nixosConfigurations.${machine};
      part = derivation {
        name = "part";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo \"$text\" > $out" ];
        text = asked.text or "nothing";
      };
    in
    derivation {
      name = "skyflake-${machine}";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo \"building $name\" >&2; ${asked.run or ":"}; /bin/busybox mkdir $out; echo \"$manifest\" > $out/manifest.json" ];
      manifest = builtins.toJSON {
        inherit part identity;
        microvm = microvm.version;
        custom = if customization == null then null else import (/. + builtins.unsafeDiscardStringContext customization);
      };
    };
}
EOF
    sed -i 's|/bin/busybox mkdir|mkdir|' "$top/guest/default.nix" # the sandbox has a shell and nothing else
}

make_sudo() {
    cat >"$top/bin/sudo" <<'EOF'
#!/bin/bash
# sudo -n -u ACCOUNT -- BIN/TOOL --config FILE VERB
[ "$1 $2 $4" = "-n -u --" ] || exit 64
top=$(dirname "$(dirname "$0")")
echo "$8" >>"$top/asked"
case "$3 $(basename "$5") $8" in
"bin sky-cache-push missing")
    [ ! -e "$top/cached" ] || exec jq -c '{v: 1, missing: []}'
    exec jq -c '{v: 1, missing: .paths}' ;;
"games sky-nomad-submit identity")
    exec jq -c '.repo as $repo | .machines | to_entries[] | if .value == "over" then
        {machine: .value, error: {stage: "admit", code: 77, text: "9 machines asked, 8 allowed"}}
      else {v: 1, machine: .value, index: 7, machine_id: "00000000-0000-4000-8000-000000000001",
        macs: ["02:5f:00:00:00:01"], root_mib: 2048} end' ;;
esac
exit 77
EOF
    chmod 0755 "$top/bin/sudo"
    : >"$top/asked" && chmod 0666 "$top/asked"
}

# flake NIX: commits a flake with these nixosConfigurations to repo infra, branch main; its id is in $top/rev.
flake() {
    commit "{ outputs = { self, nixpkgs }: { nixosConfigurations = $1; }; }"
}

commit() { # TEXT of flake.nix; files in $work as they are
    work=$top/work repo=$tenant/repos/infra.git
    [ -d "$work/.git" ] || { git init -q -b main "$work" && git init -q --bare -b main "$repo"; }
    echo "$1" >"$work/flake.nix"
    git -C "$work" add -A
    git -C "$work" -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m x
    publish
}

publish() { # the work tree's HEAD as main
    local repo=$tenant/repos/infra.git
    git -C "$top/work" rev-parse HEAD >"$top/rev"
    chown -R root:root "$repo"
    git -C "$top/work" push -q -f "$repo" HEAD:main
    chown -R $TENANT_UID:$TENANT_UID "$repo"
}

# "exec" first: in place of the (sub)shell, so that $! is the program itself.
as_tenant() {
    local exec=()
    [ "$1" != exec ] || { exec=(exec) && shift; }
    "${exec[@]}" setpriv --reuid $TENANT_UID --regid $TENANT_UID --clear-groups "$@"
}
build() { as_tenant "$SKY_BIN/sky-build" "$@"; }

lines() { # MACHINE...: what sky-shell would hand over
    local machine
    for machine; do
        jq -cn --arg machine "$machine" --arg rev "$(cat "$top/rev")" '{v: 1, repo: "infra", $machine, old: null, $rev,
            build: "01j8000000000000", extra: {kept: true}}'
    done
}

remove_host() {
    chmod -R u+w "$top" 2>/dev/null
    rm -rf --one-file-system "$top"
}
