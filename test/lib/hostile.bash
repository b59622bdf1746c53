# What the files in test/hostile share, on top of e2e.bash: a tenant's uid by hand, forged deployments, and twins, where
# one protection is off and the same attack succeeds. A twin changes the host's configuration or what it is made of,
# never the tools.
# shellcheck disable=SC2016 # words of jq and nix
# shellcheck source=test/lib/e2e.bash
. "$(dirname "${BASH_SOURCE[0]}")/e2e.bash"

# For setup_file and teardown of each file: a test may do what it likes to the configuration.
keep_config() { cp "$SKY_CONFIG" "$BATS_FILE_TMPDIR/config.json"; }
restore_config() { cp "$BATS_FILE_TMPDIR/config.json" "$SKY_CONFIG.new" && mv "$SKY_CONFIG.new" "$SKY_CONFIG"; }
configure() { jq "$@" "$SKY_CONFIG" >"$SKY_CONFIG.new" && mv "$SKY_CONFIG.new" "$SKY_CONFIG"; }

# as TENANT COMMAND...: what a tenant's uid could run on the host, had it found a way out of its cell.
as() {
    setpriv --reuid "$(account "$1")" --regid "$(account "$1")" --init-groups \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ SKY_CONFIG="$SKY_CONFIG" "${@:2}"
}

# The fixed command lines of sudo.
cache() { as "$1" sudo -n -u "$(account cache)" "$SKY_HOST/usr/bin/sky-cache-push" --config "$SKY_CONFIG" "${@:2}"; }
deploy() { as "$1" sudo -n -u "$(account deploy)" "$SKY_HOST/usr/bin/sky-nomad-submit" --config "$SKY_CONFIG" "${@:2}"; }

# rewrite PROGRAM SED: the operator's bwrap or pasta, each of its arguments edited by sed; \x00 makes two of one.
rewrite() {
    local real file=$SKY_HOST/run/$1.twin
    real=$(jq -re --arg p "$1" '.programs[$p]' "$BATS_FILE_TMPDIR/config.json")
    cat >"$file" <<END
#!/bin/bash
mapfile -d '' arguments < <(printf '%s\0' "\$@" | sed -z -E $(printf %q "$2"))
exec $real "\${arguments[@]}"
END
    chmod 755 "$file"
    configure --arg p "$1" --arg f "$file" '.programs[$p] = $f'
}

# flake NAME=NIX...: a flake of these configurations and nothing else, committed. In scope: forged.nix of this
# directory, nixpkgs.
flake() {
    local each
    cp "$SKY_SOURCE/test/hostile/forged.nix" .
    {
        echo "{ outputs = { self, nixpkgs }: with import ./forged.nix nixpkgs; { nixosConfigurations = {"
        for each; do printf '  %s = %s;\n' "${each%%=*}" "${each#*=}"; done
        echo '}; }; }'
    } >flake.nix
    git add -A
    git commit -q --allow-empty -m "flake"
}

# refused MACHINE TEXT: the last push refused this branch with this text.
# shellcheck disable=SC2154 # bats' run sets output
refused() { says "! [remote rejected] main -> $1 ($2"; }

# shellcheck disable=SC2154
# What no verdict may hold: what a terminal takes for more than text.
plain() { [ "$(LC_ALL=C tr -d '\t\n -~' <<<"$output" | wc -c)" = 0 ] || { cat -v <<<"$output" >&2; false; }; }
