#!/bin/sh
# Puts back what backup.sh took, where nothing is: the handbook, "All servers are lost", says when which.
# usage: restore.sh CONFIG BACKUP
# After `sky-vm-run storage init` and `sky-vm-run host-start`: repositories, records, keys. Nomad's state is for
# `nomad operator snapshot restore BACKUP/nomad.snap`.
set -eu
umask 077
[ $# -eq 2 ] || {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
config=$1 backup=$2
fail() {
    echo "skyflake-restore: error: $1" >&2
    exit "$2"
}
get() { jq -re "$1" "$config"; }
shared=$(get '.shared // .state // "/var/lib/skyflake"')
[ -e "$backup/storage.json" ] || fail "'$backup' is no backup" 65

unpack() { # FILE DIRECTORY NAME
    set -- "$1" "$2" "$3" "$(stat -c %u -- "$2/$3")" "$(stat -c %g -- "$2/$3")"
    [ -z "$(ls -A -- "$2/$3")" ] || fail "'$2/$3' is not empty" 65
    # As who owns it, who may have written the archive, too.
    zstd -dcq "$1" | (cd "$2" && exec setpriv --reuid "$4" --regid "$5" --clear-groups -- tar --extract --directory "$3" \
        --strip-components 1 --no-same-owner --preserve-permissions)
}

[ "$(jq -r .storage "$shared/storage.json")" = "$(jq -r .storage "$backup/storage.json")" ] ||
    fail "the backup is of another storage than '$shared' (skyflake.storage.id)" 69
# Tenants that are not in the configuration first: who they are makes their directories.
if [ -e "$backup/tenants.json" ] && [ ! -e "$shared/tenants.json" ]; then
    cp -p "$backup/tenants.json" "$shared/tenants.json.new"
    mv "$shared/tenants.json.new" "$shared/tenants.json"
fi
for file in "$backup"/tenants/*.tar.zst; do
    tenant=$(basename "$file" .tar.zst)
    [ "$tenant" = '*' ] || [ -d "$shared/tenants/$tenant/repos" ] ||
        fail "tenant '$tenant' has no directory yet (sky-vm-run host-start makes it, if there is such a tenant; then this again)" 75
done
for name in keys deployments gcroots records authorized_keys; do
    [ ! -e "$backup/$name.tar.zst" ] || unpack "$backup/$name.tar.zst" "$shared" "$name"
done
for file in "$backup"/tenants/*.tar.zst; do
    [ -e "$file" ] || continue
    tenant=$(basename "$file" .tar.zst)
    unpack "$file" "$shared/tenants/$tenant" repos
done
if [ -e "$backup/registry.json" ]; then
    [ ! -e "$shared/registry.json" ] || fail "'$shared/registry.json' is there" 65
    cp -p "$backup/registry.json" "$shared/registry.json"
fi
