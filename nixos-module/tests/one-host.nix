# One host: comes up without a storage and refuses, gets one, lets a tenant in as far as it should.
{
  name = "skyflake-one-host";

  nodes.host =
    { pkgs, ... }:
    {
      virtualisation.memorySize = 2048;
      skyflake = {
        enable = true;
        storage.id = "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f";
        users.alice.uid = 3001;
      };
      environment.systemPackages = [ pkgs.jq ];
    };

  testScript = ''
    host.wait_for_unit("sshd.service")
    host.succeed("for tool in /run/current-system/sw/bin/sky-*; do $tool --check-config; done")

    # Without a storage nothing starts, and it says why.
    host.fail("systemctl is-active skyflake-host.service")
    host.succeed("journalctl -u skyflake-host.service | grep -F 'storage init'")
    host.succeed("sky-vm-run storage init | jq -e '.storage == \"5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f\"'")
    host.succeed("systemctl start skyflake-host.service skyflake-reconcile.service")
    host.succeed("nft list table inet sky")
    host.succeed("test $(stat -c %U:%a /var/lib/skyflake/tenants/alice/repos) = alice:700")

    # As sshd would start it: no shell, the verbs only.
    host.succeed("su alice -s /run/current-system/sw/bin/sky-shell -c help | grep -F push")
    host.fail("su alice -s /run/current-system/sw/bin/sky-shell -c 'sh -c id'")
    host.succeed("sshd -T -C user=alice,host=h,addr=192.0.2.1 | grep -F 'forcecommand /run/current-system/sw/bin/sky-shell'")
    host.succeed("su alice -s /bin/sh -c 'sudo -n -l' | grep -F 'sky-cache-push --config /etc/skyflake/config.json push'")
    host.fail("su alice -s /bin/sh -c 'sudo -n id'")
  '';
}
