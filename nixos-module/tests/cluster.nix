# What three-hosts.nix and failover.nix have in common: three hosts, Nomad, Ceph on a disk of each, one tenant.
{ lib, ... }:
let
  hosts = [
    "n1"
    "n2"
    "n3"
  ];
  node =
    name:
    {
      config,
      pkgs,
      nodes,
      ...
    }:
    {
      virtualisation = {
        memorySize = 4096;
        cores = 2;
        emptyDiskImages = [ 8192 ];
      };
      networking.firewall.enable = true;
      skyflake = {
        enable = true;
        host = name;
        nodes = lib.genAttrs hosts (each: {
          address = nodes.${each}.networking.primaryIPAddress;
        });
        nomad = {
          enable = true;
          vcpuMhz = 100;
          leaseTime = 12;
          heartbeat = {
            ttl = 5;
            grace = 5;
            failoverTtl = 15;
          };
        };
        ceph = {
          enable = true;
          fsid = "433a2193-4f8a-47a0-95d2-209d7ca2cca5";
          osds = lib.listToAttrs (
            lib.imap0 (
              n: each:
              lib.nameValuePair (toString n) {
                host = each;
                device = "/dev/vdb";
              }
            ) hosts
          );
          osdMemory = 1024;
          filesystem.enable = true;
        };
        storage = {
          id = "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f";
          defaultClass = "ceph";
          classes = {
            local.kind = "local";
            ceph = {
              kind = "fenced";
              pool = "skyflake";
            };
          };
        };
        reserve = {
          mem = 256;
          nomadMem = 256;
          cephMem = 1024;
          buildMem = 256;
        };
        users.alice = {
          uid = 3001;
          sshKeys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJJTSJdpDh82486uPiMhhyhnci4tScp5uUe7156MBC8 alice@laptop" ];
        };
      };
      environment.systemPackages = [
        pkgs.jq
      ]
      ++ lib.attrValues (
        lib.getAttrs [ "make-ceph" "make-nomad" ] (pkgs.callPackage ../scripts { })
      );
    };
in
{
  nodes = lib.genAttrs hosts node;
  _module.args.bringUp = ''
    hosts = [n1, n2, n3]
    start_all()
    for host in hosts:
        host.wait_for_unit("sshd.service")

    # As the handbook says it: keys are made in one place and brought to each.
    n1.succeed("make-nomad /root/keys --servers 'n1 n2 n3' && make-ceph /root/keys --mons 'n1 n2 n3' --osds 'n1:0 n2:1 n3:2'")
    for host in hosts:
        keys = n1.succeed(f"tar -C /root/keys/{host.name} -cf - . | base64 -w0")
        host.succeed(f"mkdir -p /var/lib/skyflake-secrets && echo {keys} | base64 -d | tar -C /var/lib/skyflake-secrets -xf -")
        host.succeed("touch /var/lib/ceph/new")
    for host in hosts:
        host.succeed("systemctl start skyflake-secrets.service")
        host.succeed("systemctl start --no-block ceph.target nomad.service skyflake-lease.service skyflake-ceph-cluster.service || true")
    n1.wait_until_succeeds("ceph --name client.admin -k /var/lib/skyflake-secrets/ceph.client.admin.keyring -s | grep -F '3 osds: 3 up'", timeout=600)
    n1.wait_until_succeeds("skyflake-nomad server members | grep -c alive | grep -x 3", timeout=300)
    n1.wait_until_succeeds("skyflake-nomad-bootstrap", timeout=120)
    for host in hosts[1:]:
        for name in ("deploy", "host", "backup"):
            token = n1.succeed(f"cat /var/lib/skyflake-secrets/nomad-{name}.token").strip()
            host.succeed(f"umask 077; echo {token} > /var/lib/skyflake-secrets/nomad-{name}.token")
        host.succeed("systemctl restart skyflake-secrets.service")
    n1.succeed("systemctl restart skyflake-secrets.service")

    # One storage for all of them.
    n1.wait_until_succeeds("systemctl start srv-skyflake.mount", timeout=600)
    n1.succeed("sky-vm-run storage init")
    for host in hosts:
        host.wait_until_succeeds("systemctl start srv-skyflake.mount skyflake-host.service", timeout=600)
        host.succeed("systemctl restart nomad.service skyflake-lease.service")
    n1.succeed("NOMAD_TOKEN=$(cat /var/lib/skyflake-secrets/nomad-operator.token) sky-nomad-submit tenant add alice")
    n1.wait_until_succeeds("NOMAD_TOKEN=$(cat /var/lib/skyflake-secrets/nomad-operator.token) skyflake-nomad node status -json | jq -e '[.[] | select(.Status == \"ready\")] | length == 3'", timeout=300)
  '';
}
