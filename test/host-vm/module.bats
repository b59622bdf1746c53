#!/usr/bin/env bats
# What the NixOS module makes of a host (test/golden/host), run: its units, slices, accounts, rules and configuration under Debian's
# systemd, with Debian's programs where the store's would be. The tests build on one another.
# shellcheck disable=SC2016 # scripts for the VM
load outside.bash

setup_file() {
    cp -r "$SKY_SOURCE/test/golden/host/watched" "$BATS_FILE_TMPDIR/golden"
    boot_debian module.bash "$BATS_TEST_DIRNAME/module.bash" "$BATS_FILE_TMPDIR/golden" \
        "$(command -v zstd)" # which the VM's image does not have
    vm 'fill_store; make_accounts; switch'
}

@test "the first switch: no storage yet, which skyflake-host says; nobody comes in" {
    vm 'is skyflake-host Result exit-code
        journalctl -u skyflake-host -o cat >&2
        journalctl -u skyflake-host -o cat | grep "storage init"
        is skyflake-reconcile ActiveState inactive
        nobody_comes_in'
}

@test "storage init, and what failed is up: keys count, doctor finds it good" {
    vm 'sky-vm-run storage init
        systemctl start skyflake-host skyflake-reconcile
        ssh host whoami | grep "^alice on n1"
        sky-vm-run doctor >&2'
}

@test "a tenant pushes and has a machine; sessions are in the tenant's slice, with its limits; the host keeps its memory" {
    run -0 vm 'clone www one
        git push host:infra HEAD:www 2>&1'
    says 'www running on n1'
    vm 'eventually 300 serves www one
        for key in MemoryMax MemorySwapMax TasksMax CPUWeight IOWeight; do
            value=$(of_golden user-3001.slice $key)
            is user-3001.slice $key $(bytes $value)
        done
        is user@3001.service LoadState masked
        ssh -n host logs infra/www -f >/dev/null 2>&1 & client=$!
        eventually 60 session_in_slice user-3001.slice
        kill $client
        [ "$(cat /sys/fs/cgroup/user.slice/user-3001.slice/memory.max)" = "$(bytes $(of_golden user-3001.slice MemoryMax))" ]
        [ "$(cat /sys/fs/cgroup/system.slice/memory.min)" = "$(bytes $(of_golden system.slice MemoryMin))" ]
        is system.slice CPUWeight $(of_golden system.slice CPUWeight)
        not grep system.slice /proc/$(hypervisor www)/cgroup'
}

@test "a switch: the machine runs on; until skyflake-host is up again nobody comes in" {
    vm 'pid=$(hypervisor www)
        address=$(field www ".address[0]")
        systemctl stop skyflake-host skyflake-reconcile
        nobody_comes_in
        not systemctl start skyflake-metrics # what a timer starts lets nobody in
        nobody_comes_in
        [ "$(curl -sS --fail --max-time 20 "http://$address/")" = one ]
        systemctl start skyflake-host skyflake-reconcile
        ssh host whoami
        [ "$(hypervisor www)" = "$pid" ]
        [ "$(starts www)" = 1 ]'
}

@test "timers: garbage is collected, machines are counted, what can not be made anew is saved; each has a next time" {
    vm 'not systemctl start skyflake-backup
        journalctl -u skyflake-backup -o cat | grep "is not there (is it mounted? if it is new: touch it)"
        mkdir -p /var/backup/skyflake
        touch /var/backup/skyflake/skyflake-backup
        for timer in $(cd $golden && echo *.timer); do
            is $timer ActiveState active
            [ -n "$(systemctl show -P NextElapseUSecRealtime $timer)" ]
            systemctl start ${timer%.timer}.service
        done
        grep -qxF "skyflake_machines{tenant=\"alice\",state=\"running\"} 1" /run/skyflake-metrics/skyflake.prom
        /nix/store/zstd/bin/zstd -dc /var/backup/skyflake/n1-*/tenants/alice.tar.zst | tar -t | grep "^repos/infra" >/dev/null
        serves www one'
}

