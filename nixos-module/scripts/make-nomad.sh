#!/bin/sh
# Makes the certificates and the gossip key of a cluster's Nomad, once, away from the hosts: DIR/HOST holds what belongs into
# `skyflake.secrets` of that host. Called again, with hosts more, it keeps what is there and makes the rest.
# usage: make-nomad DIR --servers "n1 n2 n3" [--clients "n4 n5"] [--region global] [--days 3650]
set -eu
umask 077
usage() {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
[ $# -ge 1 ] || usage
DIR=$1 SERVERS='' CLIENTS='' REGION=global DAYS=3650
shift
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --servers) SERVERS=$2 ;;
    --clients) CLIENTS=$2 ;;
    --region) REGION=$2 ;;
    --days) DAYS=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$SERVERS" ] || usage
trap '[ $? -eq 0 ] || echo "make-nomad: error: see above (call it again: it makes the rest)" >&2' EXIT
mkdir -p "$DIR"

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2> /dev/null || openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
if [ ! -s "$DIR/ca.pem" ]; then
    key "$DIR/ca.key"
    openssl req -x509 -new -key "$DIR/ca.key" -sha256 -days "$DAYS" -subj "/CN=Nomad of this cluster" -out "$DIR/ca.pem.new"
    mv "$DIR/ca.pem.new" "$DIR/ca.pem"
fi
certificate() { # FILE NAME: FILE.pem and FILE.key
    [ ! -s "$1.pem" ] || return 0
    key "$1.key"
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' "$2" > "$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$DIR/ca.pem" -CAkey "$DIR/ca.key" -CAcreateserial -sha256 -days "$DAYS" \
        -extfile "$1.ext" -out "$1.pem.new" 2> /dev/null
    rm -f "$1.csr" "$1.ext"
    mv "$1.pem.new" "$1.pem"
}
if ! grep -qs 'encrypt = "..*"' "$DIR/gossip.hcl"; then
    secret=$(openssl rand -base64 32)
    [ -n "$secret" ]
    printf 'server {\n  encrypt = "%s"\n}\n' "$secret" > "$DIR/gossip.hcl.new"
    mv "$DIR/gossip.hcl.new" "$DIR/gossip.hcl"
fi
certificate "$DIR/cli" "cli.$REGION.nomad"

for host in $SERVERS $CLIENTS; do
    out=$DIR/$host
    mkdir -p "$out"
    cp "$DIR/ca.pem" "$out/nomad-ca.pem"
    cp "$DIR/cli.pem" "$out/nomad-cli.pem"
    cp "$DIR/cli.key" "$out/nomad-cli.key"
    case " $SERVERS " in
    *" $host "*)
        certificate "$out/nomad-agent" "server.$REGION.nomad"
        cp "$DIR/gossip.hcl" "$out/nomad-gossip.hcl"
        ;;
    *) certificate "$out/nomad-agent" "client.$REGION.nomad" ;;
    esac
done
echo "certificates are in $DIR: bring each host its own as the content of skyflake.secrets, and keep ca.key where no host is" >&2
