# A state directory of its own, with a tenant and stand-ins for the service accounts, and an outbox that a build has left.
# shellcheck shell=bash

TENANT_UID=5 # games; any uid that is nobody's here will do
REV=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
BUILD=01j8000000000000
HASH=0000000000000000000000000000000 # and a digit: a store path's hash
DEPLOYMENT=/nix/store/${HASH}1-skyflake-www
DEP=/nix/store/${HASH}2-dep
PLAIN=/nix/store/${HASH}3-plain

make_state() {
    top=$(mktemp -d /var/tmp/sky-cache.XXXXXX)
    chmod 0711 "$top"
    state=$top/state
    mkdir -p "$state"/{cache,keys,deployments,gcroots,records} "$state/tenants/alice/outbox"
    chmod 0711 "$state" "$state/tenants" "$state/tenants/alice"
    chown nobody:nogroup "$state"/{cache,keys,deployments,gcroots}
    chmod 0700 "$state"/{cache,keys}
    chgrp www-data "$state"/{deployments,gcroots}
    chmod 2750 "$state"/{deployments,gcroots}
    chown $TENANT_UID:nogroup "$state/tenants/alice/outbox"
    chmod 2750 "$state/tenants/alice/outbox"
    echo '{"v":1,"storage":"00000000000000000000000000000001"}' >"$state/storage.json"
    export SKY_CONFIG=$top/config.json
    write_config 64
    outbox=$state/tenants/alice/outbox/$BUILD
    mkdir -p "$outbox/nar"
    cache=$state/cache/alice
}

write_config() { # CACHE_MIB
    jq -n --arg state "$state" --arg bin "$SKY_BIN" --argjson mib "$1" --argjson uid $TENANT_UID --arg sudo "$top/sudo" \
        '{v: 1, host: "n1", $state,
        storage: "00000000000000000000000000000001", $bin, programs: {$sudo}, accounts: {cache: "nobody", deploy: "www-data", dns: "bin"},
        tenants: {alice: {$uid, quota: {cache_mib: $mib}}}}' >"$SKY_CONFIG"
    chmod 0644 "$SKY_CONFIG"
}

remove_state() { rm -rf --one-file-system "$top"; }

# The tool where other users can execute it, wherever the checkout lies.
shared_bin() {
    install -D -t "$top/bin" "$SKY_BIN/sky-cache-push"
    SKY_BIN=$top/bin
    write_config 64
}

# What sudo makes of a call by UID: the account's process, with SUDO_UID.
as_account_for() { # UID ARGUMENT...
    SUDO_UID=$1 setpriv --reuid nobody --regid nogroup --clear-groups "$SKY_BIN/sky-cache-push" --config "$SKY_CONFIG" "${@:2}"
}

# put PATH TREE [REFERENCE...]: what sky-build leaves of one store path.
put() {
    local base=${1#/nix/store/} nar hash
    hash=${base%%-*} nar=$outbox/nar/${base%%-*}.nar
    nix-store --dump "$2" >"$nar"
    {
        echo "StorePath: $1"
        echo "URL: nar/$hash.nar"
        echo "Compression: none"
        echo "NarHash: sha256:$(nix-hash --type sha256 --flat --base32 "$nar")"
        echo "NarSize: $(stat -c %s "$nar")"
        shift 2
        echo "References: ${*//\/nix\/store\//}"
    } >"$outbox/$hash.narinfo"
    chown -R $TENANT_UID "$outbox"
}

# A deployment that refers to itself, DEP and PLAIN; DEP refers to PLAIN.
put_closure() {
    mkdir -p "$top"/{plain,dep,www}
    echo plain >"$top/plain/file"
    ln -sfn "$PLAIN/file" "$top/dep/link"
    head -c 300000 /dev/urandom >"$top/dep/random"
    install -m 0755 /bin/true "$top/www/microvm-run"
    echo '{"v": 1, "vcpu": 1, "x": [1, 2.5, "é"]}' >"$top/www/manifest.json"
    put "$PLAIN" "$top/plain"
    put "$DEP" "$top/dep" "$PLAIN"
    put "$DEPLOYMENT" "$top/www" "$DEPLOYMENT" "$DEP" "$PLAIN"
}

object() { # [MACHINE [REV [DEPLOYMENT]]]
    jq -cn --arg machine "${1:-www}" --arg rev "${2:-$REV}" --arg build $BUILD --arg deployment "${3:-$DEPLOYMENT}" \
        '{v: 1, repo: "infra", $machine, $rev, $build, $deployment, extra: {kept: [1]}}'
}

push() { object "$@" | "$SKY_BIN/sky-cache-push" push --tenant alice 2>"$top/stderr"; }
record() { cat "$state/deployments/alice/infra/${1:-www}/${2:-$REV}.json"; }
nar_of() { sed -n 's/^URL: //p' "$cache/$1.narinfo"; }
