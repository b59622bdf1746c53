#!/bin/sh
# Secrets are files that the operator brings to each host, beside the store, where everybody could read them. This says which
# of them are missing, and gives each to the one account that reads it.
# usage: secrets.sh needed|later OWNER FILE [...]      later: it may come when Nomad is up
set -eu
missing=
while [ $# -gt 0 ]; do
    when=$1 owner=$2 file=$3
    shift 3
    if [ ! -e "$file" ]; then
        [ "$when" = later ] || missing="$missing '$file'"
        continue
    fi
    # Following a link: what brings secrets may keep them elsewhere (and then owns them itself).
    file=$(readlink -f -- "$file")
    case $(stat -f -c %T -- "$file") in
    ramfs) continue ;;
    esac
    chown "$owner:" -- "$file"
    case $file in
    *.pem) chmod 0444 -- "$file" ;;
    *) chmod 0400 -- "$file" ;;
    esac
done
[ -z "$missing" ] || {
    echo "skyflake-secrets: error: not there:$missing (bring each host its files: the handbook, 'Growing to a cluster')" >&2
    exit 78
}
