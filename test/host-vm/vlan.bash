# For test/host-vm/network.bats: three hosts of test/network inside the host VM, whose kernel has VLANs.
# shellcheck disable=SC2034 # some are for hosts.bash
set -eEuo pipefail
bats_require_minimum_version() { :; }
not() { ! "$@"; }
export PATH=/srv/tree/python:$PATH PYTHONHOME=/srv/tree/python/usr LD_LIBRARY_PATH=/srv/tree/python/lib
SKY_SOURCE=/srv/tree SKY_BIN=/srv/tree/usr/bin BATS_RUN_TMPDIR=/root/net BATS_TEST_NUMBER=1
BATS_TEST_TMPDIR=$BATS_RUN_TMPDIR/$$
mkdir -p "$BATS_TEST_TMPDIR"
chmod a+x /root
exec 3>/dev/null
# shellcheck source=test/network/hosts.bash
. /srv/tree/test/network/hosts.bash
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap teardown EXIT
setup
bridged_packets_filtered() { # HOST 0|1
    on "$1" sysctl -qw net.bridge.bridge-nf-call-iptables="$2" net.bridge.bridge-nf-call-ip6tables="$2"
}
for h in 1 2 3; do bridged_packets_filtered "$h" 0; done

vlan='{"mode":"vlan","uplink":"trunk0","ids":{"first":100,"last":199},"ipv6":"fd99::/48"}'
honest='honest-arp honest-ip honest-ip6 honest-nd '
vlans() { on "$1" bridge -j vlan show dev "$2" | jq -c '[.[].vlans[] | [.vlan, .flags // []]]'; } # HOST LINK
