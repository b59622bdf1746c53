# For test/host-vm/setup.bats and module.bats: words for scripts that run inside the host VM.
set -eEuo pipefail
export LC_ALL=C.UTF-8
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
[ -e /root/.ssh/alice ] || {
    ssh-keygen -q -t ed25519 -N '' -C alice@laptop -f /root/.ssh/alice
    printf 'Host host\nHostName 127.0.0.1\nUser alice\nIdentityFile /root/.ssh/alice\nIdentitiesOnly yes\nBatchMode yes\n%s\n' \
        'StrictHostKeyChecking accept-new' >/root/.ssh/config
    git config --global user.name alice
    git config --global user.email alice@laptop
}
[ ! -d /root/infra ] || cd /root/infra

not() { ! "$@"; } # a "!" alone does not end a script

# What host-setup changes of a server, as far as anything could be left: files, accounts, rules, links, processes.
picture() {
    find /etc /var/lib/skyflake /run/sky-host /run/systemd/system /run/systemd/transient -xdev \
        ! -path '/etc/*-' ! -path '*/session-*' ! -path '/etc/skyflake/.*' 2>/dev/null | sort || true
    sort /etc/passwd /etc/group /etc/shadow
    nft list tables
    ip -o link show | sed -E 's/^[0-9]+: ([^:@]*).*/\1/'
    { cat /proc/[0-9]*/status 2>/dev/null || true; } | awk '/^Uid:/ && $2 >= 3000 && $2 != 65534 { print "a process of", $2 }'
    find /sys/fs/cgroup -maxdepth 1 -name '*sky*'
    cat /proc/sys/net/ipv4/ip_forward
}
clone() { # MACHINE TEXT: the example's flake with one machine
    cp -r /srv/tree/flake /root/infra
    cd /root/infra
    echo "nixpkgs: { $1 = { text = \"$2\"; }; }" >machines.nix
    git init -q -b main
    git add -A
    git commit -q -m "$2"
}
eventually() { # SECONDS COMMAND...
    local end=$((SECONDS + $1 * ${SKY_PATIENCE:-1}))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "never came: $*" >&2; return 1; }
        sleep 1
    done
}
field() { ssh -n host status "infra/$1" --json | jq -r "$2"; }
page() { curl -sS --fail --max-time 20 "http://$(field "$1" '.address[0]')/${2:-}"; }
serves() { [ "$(page "$1" 2>/dev/null || true)" = "$2" ]; } # MACHINE TEXT
starts() { page "$1" starts | wc -l; }
mib() { jq -r "$1 // $2" /etc/skyflake/config.json; }
hypervisor() { sky-vm-run list </dev/null | jq -r --arg m "$1" 'select(.machine == $m).pid'; }
units() { systemctl list-units --plain --no-legend --state=active "sky-vm-alice.infra.$1-*"; }
