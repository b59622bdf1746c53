# Three hosts become a cluster with the handbook's commands, and let nobody in who is none of them.
{ bringUp, ... }:
{
  name = "skyflake-three-hosts";
  imports = [ ./cluster.nix ];

  testScript = ''
    ${bringUp}
    for host in hosts:
        host.succeed("for tool in /run/current-system/sw/bin/sky-*; do case $tool in *fusermount) ;; *) $tool --check-config ;; esac; done")
        host.succeed("systemctl start skyflake-reconcile.service")
        host.succeed("sky-nomad-submit status --all --json")

    # The door is the same on each, and so is what lies behind it.
    n1.succeed("su alice -s /run/current-system/sw/bin/sky-shell -c status")
    n2.succeed("su alice -s /run/current-system/sw/bin/sky-shell -c status")

    # A tenant's uid reaches neither Nomad nor Ceph, here or next door; an operator does.
    for address in ("127.0.0.1", "n2"):
        n1.succeed(f"timeout 5 bash -c '</dev/tcp/{address}/4646'")
        n1.fail(f"su alice -s /bin/sh -c \"timeout 5 bash -c '</dev/tcp/{address}/4646'\"")
    n1.fail("su alice -s /bin/sh -c \"timeout 5 bash -c '</dev/tcp/n2/3300'\"")

    # Every host renews its lease.
    for host in hosts:
        host.wait_until_succeeds("test -s /var/lib/skyflake/lease.deadline", timeout=60)
  '';
}
