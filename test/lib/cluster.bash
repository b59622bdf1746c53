# What the files in test/cluster share, on top of e2e.bash: hosts, and Nomad as an operator sees it.
# shellcheck shell=bash
load ../lib/e2e

cluster() { "$SKY_SOURCE/test/lib/cluster" "$1" "$SKY_HOST" "${@:2}"; }
on() { cluster on "$@"; }
nomad_api() { cluster api "$@"; }

# A tenant's ssh to one host: at n2 alice status. `sky` asks HOST_NOW, n1 unless said otherwise.
at() { ssh -nT -F "$SKY_HOST/ssh_config" "$1-$2" "${@:3}"; }
sky() { at "${HOST_NOW:-n1}" "${TENANT:-alice}" "$@"; }

# The work tree's remotes are the hosts: git push n2 main:www.
remotes() {
    local host
    git remote remove sky 2>/dev/null || true
    for host in n1 n2 n3 n4; do git remote add "$host" "$host-$TENANT:$REPO"; done
}
push_to() { git push "$1" "${@:2}" 2>&1 </dev/null; }
test_field() { [ "$(field "$1")" = "$2" ]; } # MACHINE STATE
# For teardown_file: ends what a file's machines use, so that the next one has the quota and the memory.
drop_all() {
    cd "$WORK" || return 0
    git ls-remote "${1:-n1}" 'refs/heads/*' | sed 's|.*refs/heads/|:refs/heads/|' | xargs -r git push -q "${1:-n1}" || true
}
# The hosts of the machines that run, a line for each: how many, which.
places() { at "${1:-n1}" "$TENANT" status "$REPO" --json | jq -r 'select(.host != null) | .host' | sort | uniq -c; }

# Whether the servers stay a majority when one more is lost: the leader is not at once in touch again with one that was cut off.
can_lose_one() { nomad_api GET operator/autopilot/health | jq -e '.FailureTolerance >= 1' >/dev/null; }

host_of() { field "$1" .host; }
# A guest answers on its own host alone: other hosts have no route to it.
page_of() { # MACHINE [FILE]
    local there
    there=$(address "$1") && [ -n "$there" ] || return
    # It may be on its way to another host: who waits for it asks again where it is, before long.
    on "$(host_of "$1")" curl -sS --fail --connect-timeout 3 --max-time 20 --retry 30 --retry-max-time 30 --retry-delay 1 --retry-connrefused "http://$there/${2:-}"
}
machine_uid() { jq -re --arg m "$(account "$TENANT").$REPO.$1" '.machines[$m].uid' "$SKY_HOST/shared/registry.json"; }

only() { # HOST...: no other is given machines
    local name id
    nomad_api GET nodes | jq -r '.[] | .Name + " " + .ID' | while read -r name id; do
        nomad_api POST "node/$id/eligibility" "{\"Eligibility\":\"$([[ " $* " == *" $name "* ]] && echo e || echo ine)ligible\"}" >/dev/null
    done
}
