#!/bin/sh
# When a host goes down its machines leave it first; when it is back it takes machines again, if it was this that drained it.
# usage: drain.sh down|up SKY-NOMAD-SUBMIT HOST TOKEN-FILE MARK DEADLINE
set -eu
verb=$1 submit=$2 host=$3 token=$4 mark=$5 deadline=$6
[ -s "$token" ] || {
    echo "skyflake-drain: '$token' is not there: machines are shut down where they are" >&2
    exit 0
}
NOMAD_TOKEN=$(cat "$token")
export NOMAD_TOKEN
case $verb in
down)
    # A unit that is restarted, by a switch say, takes nobody away.
    [ "$(systemctl is-system-running || true)" = stopping ] || exit 0
    # Drained by hand: it stays so.
    [ "$(nomad node status -json | jq -r --arg host "$host" '.[] | select(.Name == $host) | .SchedulingEligibility')" = eligible ] || exit 0
    : > "$mark"
    sync -f "$mark"
    "$submit" --config /etc/skyflake/config.json drain "$host" --deadline "$deadline"
    ;;
up)
    [ -e "$mark" ] || exit 0
    "$submit" --config /etc/skyflake/config.json undrain "$host"
    rm -f "$mark"
    ;;
esac
