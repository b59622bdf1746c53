#!/usr/bin/env bats
# The handbook: it builds without a warning, its manual pages are the tools', and the chapter of the first host on Debian is
# carried out as it stands, by root in namespaces (mount, pid, net, uts) with an /etc, /run, /var/lib and /usr/local of their own.
# shellcheck disable=SC2154,SC2016 # bats' run sets output; scripts for the namespaces
bats_require_minimum_version 1.5.0

setup_file() {
    export T
    T=$(mktemp -d /var/tmp/sky-docs.XXXXXX)
    chmod 755 "$T"
    mkdir "$T"/{lib,run,local}
    cp -a /etc "$T/etc"
    rm -rf "$T"/etc/skyflake "$T"/etc/{sudoers.d,ssh/sshd_config.d,modules-load.d}/*sky*
    sed -i '/^alice:/d' "$T"/etc/{passwd,shadow,group,gshadow}
    cmake --install "$SKY_BUILD" --prefix "$T/local" --strip >/dev/null
    # Its mounts are made from within, never by a neighbour: whoever enters before it has left the host's namespace mounts there.
    T=$T unshare --mount --net --uts --pid --fork --kill-child --mount-proc --propagation private bash -euc '
        for each in etc lib:var/lib run local:usr/local; do mount --bind "$T/${each%:*}" "/${each#*:}"; done
        hostname n1
        echo its own >/etc/sky-docs
        : >"$T/ready"
        exec sleep infinity' 3>&- &
    export UNSHARE=$! HOST
    until [ -e "$T/ready" ]; do
        kill -0 "$UNSHARE" || return 1
        sleep 0.1
    done
    HOST=$(pgrep -P "$UNSHARE")
    inside 'mkdir -p /run/sshd; ip link set lo up
        [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
        ssh-keygen -q -t ed25519 -N "" -C alice@laptop -f /run/alice'
}
teardown_file() {
    [ -z "${UNSHARE:-}" ] || kill -KILL "$UNSHARE" # and with it whatever runs in there
    [ -z "${HOST:-}" ] || while [ -e "/proc/$HOST" ]; do sleep 0.1; done
    rm -rf --one-file-system "$T"
}
inside() { # never on the computer itself
    nsenter -t "$HOST" -m -n -u -p env -u SKY_CONFIG PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -euc "[ -e /etc/sky-docs ]; cd /run; $1" </dev/null 3>&-
}
block() { # PAGE N: the text of its Nth block of commands
    awk -v n="$2" '/^```sh$/ { on = ++count == n; next } /^```/ { on = 0 } on' "$SKY_SOURCE/doc/$1"
}

@test "docs: the handbook builds strictly, every page is in its index, and is found" {
    "$SKY_SOURCE/doc/build" "$SKY_BIN" "$BATS_TEST_TMPDIR/site"
    for page in "$SKY_SOURCE"/doc/*.md; do
        [ -s "$BATS_TEST_TMPDIR/site/$(basename "$page" .md).html" ]
        grep -q "$(basename "$page")" "$SKY_SOURCE/mkdocs.yml" || { echo "not in mkdocs.yml: $page" && return 1; }
    done
    jq -e '[.docs[] | select(.text | contains("host-setup")) | .location] | any(startswith("man/sky-vm-run.html"))
        and any(startswith("first-host.html"))' "$BATS_TEST_TMPDIR/site/search/search_index.json"
    cp -r "$SKY_SOURCE/doc" "$SKY_SOURCE/mkdocs.yml" "$BATS_TEST_TMPDIR/"
    echo '[gone](gone.md)' >>"$BATS_TEST_TMPDIR/doc/index.md"
    run ! "$BATS_TEST_TMPDIR/doc/build" "$SKY_BIN" "$BATS_TEST_TMPDIR/other"
}

@test "docs: every exit code of the tools has its line, and the drawings are whole" {
    sed -nE 's/.*k[A-Z][A-Za-z]+ = ([0-9]+),.*/\1/p' "$SKY_SOURCE/lib/sky/exit.hpp" >"$BATS_TEST_TMPDIR/codes"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/codes")" -gt 8 ]
    while read -r code; do
        grep -q "^| $code |" "$SKY_SOURCE/doc/reference.md" || { echo "no exit code $code" && return 1; }
    done <"$BATS_TEST_TMPDIR/codes"
    for svg in push boundaries failover; do
        python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$SKY_SOURCE/doc/drawings/$svg.svg"
    done
}

@test "docs: a first host on Debian, as the chapter stands" {
    [ "$(block first-host.md 1)" = "sky-vm-run host-setup --dry-run
sky-vm-run host-setup" ]
    inside "$(block first-host.md 1)"
    inside 'jq -e . /etc/skyflake/config.json >/run/before'
    # What it can not bring.
    "$SKY_SOURCE/test/lib/cell-root" "$T/local/lib/cell" "$SKY_CACHE" 2.8
    virtiofsd=$("$SKY_SOURCE/test/lib/virtiofsd" "$T/virtiofsd" "$SKY_CACHE")
    inside "jq '.cell += { root: \"/usr/local/lib/cell\", inputs: { nixpkgs: \"/run/in/nixpkgs\", microvm: \"/run/in/microvm\" } }
        | .programs.virtiofsd = \"$virtiofsd\"' /run/before >/etc/skyflake/config.json
        mkdir -p /run/in/{nixpkgs,microvm} && touch /run/in/{nixpkgs,microvm}/flake.nix"
    inside "$(block first-host.md 3)"
    run inside "$(block first-host.md 2)"
    echo "$output"
    [ "$status" -eq 0 ]
    inside 'sky-shell tenant list' | grep -E '^alice +40000 .*1 keys$'
    # sshd as it stands there takes the key, and sky-shell answers.
    inside '/usr/sbin/sshd -o Port=22 -o ListenAddress=127.0.0.1 -o UsePAM=no -o StrictModes=no -o PidFile=/run/test-sshd.pid
        ssh -F none -n -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /run/alice alice@127.0.0.1 whoami >/run/said || code=$?
        kill "$(cat /run/test-sshd.pid)"
        exit "${code:-0}"'
    grep -q '^alice on ' "$T/run/said"
    grep -q 'SHA256:' "$T/run/said"
}

@test "docs: and back: nothing of it is left" {
    inside 'sky-vm-run host-setup --undo --dry-run' | grep 'would remove account alice'
    inside 'sky-vm-run host-setup --undo --data'
    run -1 grep -E '^(alice|skyflake-)' "$T"/etc/{passwd,group}
    [ -z "$(find "$T/etc" "$T/lib" -name '*skyflake*')" ]
    run ! inside 'nft list table inet sky'
}
