# For test/host-vm/host.bats: words for scripts that run inside the host VM.
# shellcheck disable=SC2034 # some are for test/lib/e2e.bash
export SKY_SOURCE=/srv/tree SKY_HOST=/srv/sky SKY_PREFIX=skyv SKY_CONFIG=/srv/sky/etc/config.json BATS_FILE_TMPDIR=/root
export PATH=/srv/sky/usr/bin:$PATH REPO=infra TENANT=alice WORK=/root/alice-infra
bats_require_minimum_version() { :; }
not() { ! "$@"; } # a "!" alone does not end a script
# shellcheck source=test/lib/e2e.bash
. /srv/tree/test/lib/e2e.bash
set -eEuo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
[ ! -d "$WORK" ] || cd "$WORK"

state=/srv/sky/state
name() { echo "skyv-alice.infra.$1"; }
hypervisor() { sky-vm-run --config "$SKY_CONFIG" list </dev/null | jq -r --arg m "$1" 'select(.machine == $m).pid'; }
is_ready() { [ "$(field "$1")" = running ]; }
units() { systemctl list-units --plain --no-legend --state=active "skyv-vm-$(name "${1:-*}")-*" | awk '{ print $1 }'; }
main_pid() { systemctl show -P MainPID "$(units "$1")"; }
cgroup() { sed -n 's/^0:://p' "/proc/$1/cgroup" 2>/dev/null || true; } # PID; empty when it has gone
session() { # of the tenant's, that lasts
    ssh -nT -F "$SKY_HOST/ssh_config" sky-alice logs infra/www -f >/dev/null 2>&1 &
    # shellcheck disable=SC2317 # eventually calls it
    there() { [ -n "$(processes_of_uid "$(id -u skyv-alice)")" ]; }
    eventually 60 there
}
killed_for_memory() { journalctl -k -o cat --grep 'oom-kill:' | sed -nE 's/.*oom_memcg=([^,]*),.*/\1/p'; } # cgroups
