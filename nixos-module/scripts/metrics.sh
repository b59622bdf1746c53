#!/bin/sh
# How many machines are in which state, for the textfile collector of Prometheus' node exporter.
# usage: metrics.sh SKY-NOMAD-SUBMIT FILE
set -eu
up=1
lines=$("$1" --config "${SKY_CONFIG:-/etc/skyflake/config.json}" status --all --json) || up=0
{
    echo '# HELP skyflake_up Whether records and scheduler could be asked.'
    echo '# TYPE skyflake_up gauge'
    echo "skyflake_up $up"
    echo '# HELP skyflake_machines Machines of a tenant by state.'
    echo '# TYPE skyflake_machines gauge'
    printf '%s\n' "$lines" | jq -rs 'map(.tenant = (.machine | split("/")[0])) | group_by([.tenant, .state])[] |
        "skyflake_machines{tenant=\"\(.[0].tenant)\",state=\"\(.[0].state)\"} \(length)"'
    echo '# HELP skyflake_machine_restarts Restarts of a machine since its revision was deployed.'
    echo '# TYPE skyflake_machine_restarts gauge'
    printf '%s\n' "$lines" | jq -r '"skyflake_machine_restarts{machine=\"\(.machine)\"} \(.restarts)"'
} > "$2.new"
chmod 0644 "$2.new"
mv "$2.new" "$2"
