#!/usr/bin/env bats
# A Debian server, with systemd, becomes a host by `cmake --install` and `sky-vm-run host-setup`, is one after a reboot, and is
# none any more after --undo. The tests build on one another.
# shellcheck disable=SC2016 # scripts for the VM
load outside.bash

setup_file() {
    boot_debian setup.bash
    vm 'cp -r /srv/tree/usr/. /usr/local/ && picture >/root/before'
}

@test "--dry-run says each step and takes none" {
    run -0 vm 'sky-vm-run host-setup --dry-run; picture | diff /root/before -'
    says 'would make account skyflake-cache'
    says 'would write /etc/systemd/system/sky-host.service'
    says 'would enable and start sky-reconcile.service'
    run -1 grep -v -e '^would ' -e ': warning: ' <<<"$output"
}

@test "it makes a host, says so once, and doctor finds it good" {
    vm 'sky-vm-run host-setup >/root/steps
        jq ".cell += { root: \"/srv/sky/cell\", inputs: { nixpkgs: \"/srv/sky/standin/nixpkgs\", microvm: \"/srv/sky/standin/microvm\" },
                customization: \"/usr/local/share/skyflake/quiet.nix\" }
            | .programs.virtiofsd = \"/srv/sky/virtiofsd/virtiofsd\" | .machine.ready_s = 600
            | .program_roots = [\"/usr\", \"/lib\", \"/lib64\", \"/srv/sky/virtiofsd\"]" /etc/skyflake/config.json >/root/config
        cat /root/config >/etc/skyflake/config.json
        sky-vm-run doctor >&2
        for unit in host reconcile gc backup metrics; do systemd-analyze verify --man=no "/etc/systemd/system/sky-$unit.service"; done
        systemctl is-active --quiet sky-host sky-reconcile sky-gc.timer'
    run -0 vm 'sky-vm-run host-setup 2>&1'
    says 'nothing to do'
}

@test "a tenant is added, pushes, and has a machine; sessions are in the tenant's slice" {
    run -0 vm 'sky-shell tenant add alice --key /root/.ssh/alice.pub --key-name laptop
        clone www one
        git push host:infra HEAD:www 2>&1'
    says 'www running on n1'
    vm 'eventually 300 serves www one
        uid=$(id -u alice)
        [ "$(systemctl show -P MemoryMax user-$uid.slice)" = $(($(mib .cell.mem_mib 8192) << 20)) ]
        [ "$(systemctl show -P LoadState user@$uid.service)" = masked ]
        [ "$(units www | wc -l)" = 1 ]
        mkdir -p /var/lib/prometheus/node-exporter
        systemctl start sky-metrics
        grep -x "skyflake_machines{tenant=\"alice\",state=\"running\"} 1" /var/lib/prometheus/node-exporter/sky.prom'
}

@test "it is a host after a reboot, too: rules, keys, and the machine with its disk" {
    local address
    address=$(vm 'field www ".address[0]"')
    host_vm reboot 3>&-
    vm 'eventually 300 serves www one
        [ "$(systemctl show -P Result sky-reconcile)" = success ]
        nft list table inet sky >/dev/null
        nft list table netdev sky >/dev/null
        [ "$(starts www)" = 2 ]'
    [ "$(vm 'field www ".address[0]"')" = "$address" ]
}

@test "--undo shuts the machine down, and leaves data alone; host-setup finds it again" {
    run -0 vm 'pid=$(hypervisor www)
        sky-vm-run host-setup --undo --dry-run
        [ -e "/proc/$pid/exe" ]
        sky-vm-run host-setup --undo
        [ ! -e "/proc/$pid/exe" ]
        not grep "did not shut down" /var/lib/skyflake/vm/alice.infra.www/supervisor.log
        not ssh host whoami
        picture | grep -v -e "^/etc/skyflake" -e "^/var/lib/skyflake" | diff /root/before -'
    says 'would shut down the machines that run here'
    vm 'sky-vm-run host-setup
        ssh host whoami | grep "^alice on n1"
        eventually 300 serves www one
        [ "$(starts www)" = 3 ]'
}

@test "--undo --data: nothing of it is left" {
    vm 'sky-vm-run host-setup --undo --data >/root/steps
        picture | diff /root/before -'
}

@test "a host of a cluster gives up a connection to a lost one soon; --undo takes that back as well" {
    vm 'sky-vm-run host-setup >/root/steps
        jq ".nomad = { addresses: [\"https://127.0.0.1:4646\"] }" /etc/skyflake/config.json >/root/config
        cat /root/config >/etc/skyflake/config.json
        sky-vm-run host-setup >&2
        [ "$(cat /proc/sys/net/ipv4/tcp_retries2)" = 8 ]
        systemctl is-enabled --quiet sky-lease
        sky-vm-run host-setup --undo --data >/root/steps
        picture | diff /root/before -'
}
