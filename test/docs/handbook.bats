#!/usr/bin/env bats
# The handbook: it builds without a warning, its manual pages are the tools', and the chapters of the first host on Debian and of
# the tenant are carried out as they stand, by root in namespaces (mount, pid, net, uts) with an /etc, /run, /root, /var/lib and
# /usr/local of their own.
# shellcheck disable=SC2154,SC2016 # bats' run sets output; scripts for the namespaces
bats_require_minimum_version 1.5.0

setup_file() {
    export T
    T=$(mktemp -d /var/tmp/sky-docs.XXXXXX)
    chmod 755 "$T"
    mkdir "$T"/{lib,run,root,local}
    cp -a /etc "$T/etc"
    rm -rf "$T"/etc/skyflake "$T"/etc/{sudoers.d,ssh/sshd_config.d,modules-load.d}/*sky*
    sed -i '/^alice:/d' "$T"/etc/{passwd,shadow,group,gshadow}
    cmake --install "$SKY_BUILD" --prefix "$T/local" --strip >/dev/null
    # Its mounts are made from within, never by a neighbour: whoever enters before it has left the host's namespace mounts there.
    T=$T unshare --mount --net --uts --pid --fork --kill-child --mount-proc --propagation private bash -euc '
        for each in etc lib:var/lib run root local:usr/local; do mount --bind "$T/${each%:*}" "/${each#*:}"; done
        hostname n1
        echo its own >/etc/sky-docs
        : >"$T/ready"
        sleep infinity & wait' 3>&- &
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
block() { # PAGE N [LANGUAGE]: the text of its Nth block of commands
    awk -v n="$2" -v start="^\`\`\`${3:-sh}\$" '$0 ~ start { on = ++count == n; next } /^```/ { on = 0 } on' "$SKY_SOURCE/doc/$1"
}
said() { [[ $output == *"$1"* ]] || { printf 'not said: %s\nin:\n%s\n' "$1" "$output" >&2 && return 1; }; }
serves() { # MACHINE LINE: once it has booted
    local n page
    for ((n = 0; n < 300; n++)); do
        page=$(inside 'printf "GET / HTTP/1.0\r\n\r\n" | ssh alice@host connect '"$1 80 2>&1" || true)
        [[ $page != *"$2" ]] || return 0
        sleep 1
    done
    echo "$page" && return 1
}
# The Nth block of the tenant's chapter, as it stands, in the tenant's clone.
tenant() {
    run inside "cd /root/infra; set -x; $(block tenants.md "$1")"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "docs: the handbook builds strictly, every page is in its index, and is found" {
    "$SKY_SOURCE/doc/build" "$SKY_BIN" "$BATS_TEST_TMPDIR/site"
    for page in $(cd "$SKY_SOURCE/doc" && printf '%s\n' *.md alarms/*.md); do
        [ -s "$BATS_TEST_TMPDIR/site/${page%.md}.html" ]
        grep -q "$page" "$SKY_SOURCE/mkdocs.yml" || { echo "not in mkdocs.yml: $page" && return 1; }
    done
    jq -e '[.docs[] | select(.text | contains("host-setup")) | .location] | any(startswith("man/sky-vm-run.html"))
        and any(startswith("first-host.html"))' "$BATS_TEST_TMPDIR/site/search/search_index.json"
    cp -r "$SKY_SOURCE/doc" "$SKY_SOURCE/mkdocs.yml" "$BATS_TEST_TMPDIR/"
    echo '[gone](gone.md)' >>"$BATS_TEST_TMPDIR/doc/index.md"
    run ! "$BATS_TEST_TMPDIR/doc/build" "$SKY_BIN" "$BATS_TEST_TMPDIR/other"
}

@test "docs: each alarm fires when it should, and has its page; what a page quotes is what the tools say" {
    local page words quoted=0
    cp "$SKY_SOURCE/doc/alarms/alerts.yml" "$BATS_TEST_TMPDIR/"
    cp "$SKY_SOURCE/test/docs/alerts.yml" "$BATS_TEST_TMPDIR/tests.yml"
    promtool test rules "$BATS_TEST_TMPDIR/tests.yml"
    diff <(sed -n 's/.*- alert: //p' "$SKY_SOURCE/doc/alarms/alerts.yml" | sort) \
        <(sed -n 's/^ *alertname: //p' "$SKY_SOURCE/test/docs/alerts.yml" | sort)
    sed -n 's/^ *page: //p' "$SKY_SOURCE/doc/alarms/alerts.yml" >"$BATS_TEST_TMPDIR/named"
    while read -r page; do [ -s "$SKY_SOURCE/doc/$page" ]; done <"$BATS_TEST_TMPDIR/named"
    # What the tools' own words are, without names and numbers in them; a sentence of theirs may go on in another line.
    find "$SKY_SOURCE"/{tools,lib,libexec} -type f -exec cat {} + | tr -d '\n' | sed -E 's/" +"//g' >"$BATS_TEST_TMPDIR/sources"
    for page in "$SKY_SOURCE"/doc/alarms/*.md; do
        sed -n '/^\*\*Seen as/,/^$/p' "$page" | tr '\n' ' ' | grep -o '`[^`]*`' | grep -vE '^`(Sky|usage|status)' |
            sed -E "s/'[^']*'|[A-Z]{2,}|[.]{3}/\n/g; s/\`//g" | { grep ' [a-z]* ' || true; } >"$BATS_TEST_TMPDIR/said"
        while read -r words; do
            grep -qF -- "$words" "$BATS_TEST_TMPDIR/sources" || { echo "$page: nobody says '$words'" && return 1; }
            quoted=$((quoted + 1))
        done <"$BATS_TEST_TMPDIR/said"
    done
    [ "$quoted" -ge 15 ]
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
    # What it can not bring. The stand-in's guests boot without KVM: slowly.
    "$SKY_SOURCE/test/lib/cell-root" "$T/local/lib/cell" "$SKY_CACHE" 2.8
    "$SKY_SOURCE/test/standin/make" "$T/run/in" "$("$SKY_SOURCE/test/lib/kernel" "$SKY_CACHE")"
    virtiofsd=$(inside "$SKY_SOURCE/test/lib/virtiofsd /usr/local/lib/virtiofsd $SKY_CACHE")
    inside "jq '.cell += { root: \"/usr/local/lib/cell\", inputs: { nixpkgs: \"/run/in/nixpkgs\", microvm: \"/run/in/microvm\" },
            customization: \"/usr/local/share/skyflake/guest/tcg.nix\" } | .programs.virtiofsd = \"$virtiofsd\"
        | .machine.ready_s = 600' /run/before >/etc/skyflake/config.json"
    inside "$(block first-host.md 3)"
    run inside "$(block first-host.md 2)"
    echo "$output"
    [ "$status" -eq 0 ]
    inside 'sky-shell tenant list' | grep -E '^alice +40000 .*1 keys$'
}

@test "docs: a tenant's first push, as the chapter stands" {
    inside '/usr/sbin/sshd -o Port=22 -o ListenAddress=127.0.0.1 -o UsePAM=no -o StrictModes=no
        git config --global user.name alice
        git config --global user.email alice@laptop
        mkdir -p -m 700 /root/infra /root/.ssh
        printf "Host host\nHostName 127.0.0.1\nIdentityFile /run/alice\nStrictHostKeyChecking accept-new\n" >/root/.ssh/config'
    block tenants.md 1 nix >"$T/root/infra/flake.nix"
    block tenants.md 2 nix >"$T/root/infra/site.nix"
    tenant 1
    said 'www running on n1'
    serves www 'Hello from www.'
    tenant 2
    said 'Hello from www.'
    tenant 3
    said 'db running on n1'
    serves www 'Good morning from www.'
    serves db 'Good morning from db.'
    tenant 4
    said '[deleted]'
    [[ $(inside 'ssh alice@host status') != *infra/db* ]]
}

@test "docs: what a tenant can say, as the chapter stands" {
    tenant 5
    said 'alice on n1'
    said 'SHA256:'
    [ "$(inside 'ssh alice@host status infra/www --json' | jq -r .state)" = stopped ]
    [ -z "$(block tenants.md 6)" ]
    [ -z "$(block tenants.md 3 nix)" ]
    # Each verb of the chapter is one, and none is missing there.
    inside 'ssh alice@host help' >"$BATS_TEST_TMPDIR/help"
    for verb in $(sed -nE 's/^  ([a-z]+) .*/\1/p' "$BATS_TEST_TMPDIR/help") whoami help; do
        [[ $verb =~ ^(git|ssh)$ ]] || grep -qE "^\\|.*\`(.*, )?$verb\b.*\` \\|" "$SKY_SOURCE/doc/tenants.md" || { echo "no $verb" && return 1; }
    done
}

@test "docs: and back: nothing of it is left" {
    inside 'sky-vm-run host-setup --undo --dry-run' | grep 'would remove account alice'
    inside 'sky-vm-run host-setup --undo --data'
    run -1 grep -E '^(alice|skyflake-)' "$T"/etc/{passwd,group}
    [ -z "$(find "$T/etc" "$T/lib" -name '*skyflake*')" ]
    run ! inside 'nft list table inet sky'
}
