#!/bin/sh
# What an operator says once, by hand, when a cluster is new (doc/cluster.md, "The first start"), for the example's hosts, whose
# disks and keys are their own. It is called again until it ends well: each step leaves alone what is done.
# usage: first-start.sh SECRETS SHARED TENANT [DIR...]
#        on the first host, with the others' directories of secrets
# usage: first-start.sh SECRETS SHARED
#        on the others, which wait for their tokens
set -eu
[ $# -ge 2 ] || {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
secrets=$1 shared=$2
shift 2
tokens="deploy host backup drain"

# A monitor without a store is a new cluster's here.
[ -e "/var/lib/ceph/mon/ceph-$(uname -n)/keyring" ] || {
    mkdir -p /var/lib/ceph
    touch /var/lib/ceph/new
}

if [ $# -gt 0 ]; then
    tenant=$1
    shift
    skyflake-nomad-bootstrap
    for each; do
        for name in $tokens; do
            cp "$secrets/nomad-$name.token" "$each/nomad-$name.token.new"
            mv "$each/nomad-$name.token.new" "$each/nomad-$name.token"
        done
    done
fi
for name in $tokens; do
    [ -s "$secrets/nomad-$name.token" ] || {
        echo "first-start: waiting for nomad-$name.token, which the first host brings" >&2
        exit 75
    }
done
# Once, or each call would take Nomad's servers from one another.
[ -e /run/example-tokens ] || {
    systemctl restart skyflake-secrets skyflake-lease nomad
    touch /run/example-tokens
}
mountpoint -q "$shared" || systemctl start "$(systemd-escape --path --suffix=mount "$shared")"
if [ -n "${tenant:-}" ]; then
    sky-vm-run storage init
fi
systemctl start skyflake-host skyflake-reconcile skyflake-drain
if [ -n "${tenant:-}" ]; then
    NOMAD_TOKEN=$(cat "$secrets/nomad-operator.token") sky-nomad-submit tenant add "$tenant"
fi
touch /var/lib/example-started
