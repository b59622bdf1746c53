#!/bin/sh
# What a cluster can not make anew: Nomad's state with the registry and its keys, tenants' repositories, records, keys. To a
# directory that is elsewhere. Caches and deployments come back with a push, volumes are the storage's.
# usage: backup.sh CONFIG DIR KEEP [NOMAD-TOKEN-FILE]
# DIR must hold a file `skyflake-backup`, which you make once, so that a disk that is not mounted is no place for backups.
set -eu
umask 077
[ $# -eq 3 ] || [ $# -eq 4 ] || {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
config=$1 dir=$2 keep=$3
fail() {
    echo "skyflake-backup: error: $1" >&2
    exit "$2"
}
get() { jq -re "$1" "$config"; }
shared=$(get '.shared // .state // "/var/lib/skyflake"') host=$(get .host)
[ -e "$dir/skyflake-backup" ] || fail "'$dir/skyflake-backup' is not there (is it mounted? if it is new: touch it)" 69
[ -e "$shared/storage.json" ] || fail "'$shared/storage.json' is not there (is the storage mounted?)" 69
new=$dir/.$host.new
rm -rf "$new"
mkdir "$new" "$new/tenants"

# Nobody but whose files they are reads them: a tenant's directory is followed by the tenant alone, and says what it likes
# into an archive of its own.
archive() { # OWNER-UID OWNER-GID FILE DIRECTORY NAME...
    uid=$1 gid=$2 file=$3 from=$4
    shift 4
    {
        (cd "$from" && exec setpriv --reuid "$uid" --regid "$gid" --clear-groups -- \
            tar --create --one-file-system --sparse --warning=no-file-changed --warning=no-file-removed -- "$@") ||
            [ $? -eq 1 ] || echo "$uid" >> "$new/.failed"
    } | zstd -q -o "$file"
}
owner() { stat -c '%u %g' -- "$1"; }

for each in "$shared"/tenants/*/repos; do
    [ -d "$each" ] || continue
    each=${each%/repos} # root's directory
    # shellcheck disable=SC2046 # two words
    archive $(owner "$each/repos") "$new/tenants/${each##*/}.tar.zst" "$each" repos
done
for name in keys deployments gcroots records authorized_keys; do
    [ -d "$shared/$name" ] || continue
    # shellcheck disable=SC2046
    archive $(owner "$shared/$name") "$new/$name.tar.zst" "$shared" "$name"
done
for name in storage.json registry.json tenants.json; do
    [ ! -e "$shared/$name" ] || cp -p "$shared/$name" "$new/$name"
done
cp -p "$config" "$new/config.json"
if [ $# -eq 4 ]; then
    # Since 1.9 it holds the keys of its variables, too.
    NOMAD_TOKEN=$(cat "$4") nomad operator snapshot save "$new/nomad.snap" > /dev/null ||
        fail "no snapshot of Nomad (is there a leader? is '$4' good?)" 69
fi
[ ! -e "$new/.failed" ] || fail "could not read all files of uid $(xargs < "$new/.failed")" 74
sync -f "$new"
mv "$new" "$dir/$host-$(date -u +%Y%m%dT%H%M%SZ)"
sync -f "$dir"

# The oldest go, once the new one is whole.
find "$dir" -mindepth 1 -maxdepth 1 -type d -name "$host-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T*Z" | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
    rm -rf "$old"
done
