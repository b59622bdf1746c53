# For test/host-vm/module.bats: words for scripts that run inside the host VM.
# shellcheck source=test/host-vm/setup.bash
. /srv/tree/setup.bash
export PATH=/run/wrappers/bin:/run/current-system/sw/bin:$PATH:/srv/debian
golden=/srv/tree/golden store=/nix/store system=/etc/systemd/system

programs() { dpkg -L "$@" | grep -E '^(/usr)?/s?bin/[^/]+$'; } # PACKAGE...

# NixOS has neither /usr/bin nor /usr/sbin. These programs are not there here either, so that nobody finds them by accident.
take_away() { # PACKAGE...
    mkdir -p /srv/debian
    programs "$@" | xargs mv -t /srv/debian
    sed 's#/usr/sbin/sshd#/srv/debian/sshd#' /lib/systemd/system/ssh.service >"$system/ssh.service"
}
link_programs() { # DIRECTORY PACKAGE...: those and no others
    local program all
    mkdir -p "$1"
    all=$(programs "${@:2}")
    for program in $all; do
        [ ! -e "/srv/debian/${program##*/}" ] || program=/srv/debian/${program##*/}
        ln -sf "$program" "$1/"
    done
}

# What this Debian has in the place of a NAME of the store.
stand_for() { # NAME
    local at=$store/$1
    case $1 in
    bash | bubblewrap | coreutils | e2fsprogs | findutils | jq | passt | systemd | util-linux) link_programs "$at/bin" "$1" ;;
    gnugrep | gnused | gnutar) link_programs "$at/bin" "${1#gnu}" ;;
    dnsmasq) link_programs "$at/bin" dnsmasq-base ;;
    git-minimal) link_programs "$at/bin" git ;;
    glibc-locales) mkdir -p "$at/lib/locale" ;;
    guest) cp -r /srv/tree/usr/share/skyflake/guest "$at" ;;
    openssh) mkdir "$at" && ln -s /usr/lib/openssh "$at/libexec" ;;
    shadow) ln -s /usr/sbin/nologin "$at" ;; # a shell: the package's text is its path
    skyflake) cp -r /srv/tree/usr "$at" ;;
    skyflake-cell) ln -s /srv/sky/cell "$at" ;;
    tzdata) mkdir "$at" && ln -s /usr/share "$at/share" ;;
    virtiofsd) mkdir "$at" && ln -s /srv/sky/virtiofsd "$at/bin" ;;
    X-Restart-Triggers-*) touch "$at" ;;
    zstd) install -D /srv/tree/zstd "$at/bin/zstd" ;;
    *) echo "$golden names $at, which nothing here stands for" >&2 && return 1 ;;
    esac
}

fill_store() {
    local name names
    mkdir -p "$store" /inputs
    take_away bubblewrap busybox-static dnsmasq-base jq openssh-server passt passwd
    mapfile -t names < <(grep -rhoE "$store/[A-Za-z0-9._-]+" "$golden" | sort -u)
    for name in "${names[@]##*/}"; do stand_for "$name"; done
    cp -r /srv/sky/standin/{nixpkgs,microvm} /inputs/
    cp /srv/tree/usr/share/skyflake/quiet.nix /inputs/customization
    # As NixOS has them before systemd starts anything.
    mkdir -p /srv/wrappers
    ln -s /usr/bin/sudo /srv/wrappers/
    link_programs /srv/system/sw/bin bash coreutils findutils grep iproute2 login nftables openssh-client openssh-server passwd \
        procps sed systemd tar util-linux
    ln -s "$store"/skyflake/bin/* /srv/system/sw/bin/
    printf 'L+ %s - - - - %s\n' /run/current-system /srv/system /run/wrappers/bin /srv/wrappers >/etc/tmpfiles.d/nixos.conf
    systemd-tmpfiles --create nixos.conf
}

make_accounts() {
    local name uid gid shell groups
    mkdir -p /var/empty
    jq -r 'to_entries[] | .key as $name | .value | [$name, .uid // "-", .gid // "-", .shell, (.extraGroups | join(","))] | @tsv' \
        "$golden/accounts.json" | while IFS=$'\t' read -r name uid gid shell groups; do
        for each in ${groups//,/ }; do getent group "$each" >/dev/null || groupadd --system "$each"; done
        groupadd --system ${gid:+$([ "$gid" = - ] || echo "--gid=$gid")} "$name"
        useradd --system --no-create-home --home-dir /var/empty --gid "$name" --groups "$groups" --shell "$shell" \
            ${uid:+$([ "$uid" = - ] || echo "--uid=$uid")} "$name"
    done
}

# What NixOS links into /etc, and the build of the module adds to it.
switch() {
    local unit key timers=("$golden"/*.timer)
    mkdir -p /etc/skyflake /etc/ssh/authorized_keys.d
    # Different from the golden's: a guest on an emulated KVM takes its time, and its console would take more; there is no network
    # to download from; and what virtiofsd needs, which the module finds as it builds the file, is here Debian's libraries.
    jq '.machine.ready_s = 600 | .cell.customization = "/inputs/customization" | .cell.substituters = []
        | .program_roots = ["/usr", "/lib", "/lib64", "/srv/sky/virtiofsd"]' "$golden/config.json" >/etc/skyflake/config.json
    sky-vm-run --check-config
    { echo 'UsePAM yes' && cat "$golden/sshd_config"; } >/etc/ssh/sshd_config
    cat "$golden/sudoers" >/etc/sudoers
    cp /root/.ssh/authorized_keys /etc/ssh/authorized_keys.d/root
    key=$(cat /root/.ssh/alice.pub)
    sed "s#ssh-.*#$key#" "$golden/authorized_keys.alice" >/etc/ssh/authorized_keys.d/alice
    { printf 'table inet nixos-fw\ndelete table inet nixos-fw\n' && cat "$golden/firewall.nft"; } >/etc/nftables.conf
    cp "$golden"/skyflake-*.{service,timer} "$system/"
    for unit in "$golden"/*.slice; do install -D -m 644 "$unit" "$system/${unit##*/}.d/overrides.conf"; done
    for unit in $(jq -r '.[]' "$golden/masked.json"); do ln -s /dev/null "$system/$unit"; done
    systemctl daemon-reload
    cp "$golden/tmpfiles.conf" /etc/tmpfiles.d/skyflake.conf
    systemd-tmpfiles --create skyflake.conf
    systemctl -q enable nftables skyflake-host skyflake-reconcile "${timers[@]##*/}"
    systemctl restart nftables ssh
    systemctl start skyflake-host skyflake-reconcile "${timers[@]##*/}" || true # as NixOS does, it says so and goes on
}

is() { [ "$(systemctl show -P "$2" "$1")" = "$3" ] || { echo "$1: $2 is $(systemctl show -P "$2" "$1"), not $3" >&2 && return 1; }; }
of_golden() { sed -nE "s/^$2=//p" "$golden/$1"; } # FILE KEY
bytes() { numfmt --from=iec "$1"; }
nobody_comes_in() {
    local said
    said=$(ssh -n host whoami 2>&1) && return 1
    [[ $said == *"Permission denied (publickey)"* ]] || { echo "$said" >&2 && return 1; }
}
session_in_slice() { # SLICE: some process is
    grep -qs . "/sys/fs/cgroup/user.slice/$1"/session-*.scope/cgroup.procs
}
