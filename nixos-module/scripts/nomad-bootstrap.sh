#!/bin/sh
# Once Nomad has a leader: its first token, our namespace, policies, and the tokens that hosts need. It may be called again: what
# is there stays.
# usage: nomad-bootstrap POLICIES DIR        share/skyflake/nomad; where tokens go: skyflake.secrets
# NOMAD_ADDR, NOMAD_CACERT, NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY, NOMAD_TLS_SERVER_NAME as for `nomad` itself.
set -eu
umask 077
[ $# -eq 2 ] || {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}
policies=$1 dir=$2
operator=$dir/nomad-operator.token
if [ ! -s "$operator" ]; then
    nomad acl bootstrap -json > "$operator.new" || {
        echo "nomad-bootstrap: error: no first token (is there a leader? if somebody else had it, it belongs into '$operator')" >&2
        exit 69
    }
    jq -re .SecretID "$operator.new" > "$operator.token"
    mv "$operator.token" "$operator"
    rm -f "$operator.new"
fi
NOMAD_TOKEN=$(cat "$operator")
export NOMAD_TOKEN
nomad namespace apply -description "Skyflake's own variables" skyflake
for name in deploy host operator backup; do
    [ -e "$policies/$name.hcl" ] || continue
    nomad acl policy apply "skyflake-$name" "$policies/$name.hcl"
    case $name in
    operator) file=$dir/nomad-drain.token ;;
    *) file=$dir/nomad-$name.token ;;
    esac
    [ -s "$file" ] || {
        nomad acl token create -json -name "skyflake-$name" -type client -policy "skyflake-$name" | jq -re .SecretID > "$file.new"
        mv "$file.new" "$file"
    }
done
nomad operator scheduler set-config -scheduler-algorithm spread
echo "tokens are in $dir: the other hosts need all but nomad-operator.token, which belongs to no host" >&2
