# What test/drift-host looks at: files of a few hosts, made with the nixpkgs at a path.
{ nixpkgs }:
let
  lib = import (nixpkgs + "/lib");
  system =
    module:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = "x86_64-linux";
      modules = [
        ../nixos-module
        {
          boot.loader.grub.device = "/dev/sda";
          fileSystems."/" = {
            device = "/dev/sda1";
            fsType = "ext4";
          };
          networking.hostName = "n1";
          system.stateVersion = "26.05";
          skyflake = {
            enable = true;
            storage.id = "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f";
            cells.inputs = {
              nixpkgs = "/inputs/nixpkgs";
              microvm = "/inputs/microvm";
            };
          };
        }
        module
      ];
    };
  evaluate = module: (system module).config;

  optionsOf =
    { options, pkgs, ... }:
    let
      text = value: value.text or (toString value);
    in
    {
      "options.json" = builtins.toJSON (
        map
          (option: {
            inherit (option) name type description;
            default = if option ? default then text option.default else null;
            example = if option ? example then text option.example else null;
          })
          (
            builtins.filter (option: option.visible && !option.internal) (
              pkgs.lib.optionAttrSetToDocList options.skyflake
            )
          )
      );
    };

  key = name: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJJTSJdpDh82486uPiMhhyhnci4tScp5uUe7156MBC8 ${name}";

  wanted = name: builtins.elem name units || builtins.match "(skyflake-)?ceph-.*service" name != null;
  units = [
    "skyflake-backup.service"
    "skyflake-backup.timer"
    "skyflake-drain.service"
    "skyflake-undrain.service"
    "skyflake-gc.service"
    "skyflake-gc.timer"
    "skyflake-host.service"
    "skyflake-lease.service"
    "skyflake-metrics.service"
    "skyflake-metrics.timer"
    "skyflake-reconcile.service"
    "skyflake-secrets.service"
    "nomad.service"
    "system.slice"
    "system-ceph.slice"
    "system-nomad.slice"
    "user-3001.slice"
  ];

  filesOf =
    config:
    let
      inherit (config) skyflake;
      inherit (config.networking) nftables;
      account =
        name:
        let
          user = config.users.users.${name};
        in
        {
          inherit (user)
            uid
            group
            extraGroups
            home
            createHome
            isSystemUser
            linger
            ;
          inherit (config.users.groups.${user.group}) gid;
          shell = toString user.shell;
          subordinate = user.autoSubUidGidRange || user.subUidRanges != [ ] || user.subGidRanges != [ ];
        };
      accounts = [
        "skyflake-cache"
        "skyflake-deploy"
        "skyflake-dns"
      ]
      ++ builtins.attrNames skyflake.users;
      rules = builtins.filter (lib.hasInfix "skyflake") config.systemd.tmpfiles.rules;
      textOf = file: if file.text != null then file.text else file.source.text;
    in
    # All of the system, so that nothing in it is asserted away.
    builtins.seq config.system.build.toplevel.drvPath (
      {
        "config.json" = builtins.toJSON skyflake.settings;
        "accounts.json" = builtins.toJSON (
          builtins.listToAttrs (
            map (name: {
              inherit name;
              value = account name;
            }) accounts
          )
        );
        "sshd_config" = config.services.openssh.extraConfig;
        "sudoers" = config.security.sudo.configFile;
        "warnings.json" = builtins.toJSON config.warnings;
        "masked.json" = builtins.toJSON (
          builtins.filter (name: !config.systemd.units.${name}.enable) (
            map (user: "user@${toString user.uid}.service") (builtins.attrValues skyflake.users)
          )
        );
        "firewall.nft" = "table inet nixos-fw {\n${nftables.tables.nixos-fw.content}\n}\n";
      }
      // (if rules == [ ] then { } else { "tmpfiles.conf" = lib.concatLines rules; })
      // (if config.services.nomad.enable then {
        "nomad.json" = builtins.toJSON config.services.nomad.settings;
        "hosts.json" = builtins.toJSON config.networking.hosts;
      } else { })
      // (if config.services.ceph.enable then {
        "ceph.conf" = config.environment.etc."ceph/ceph.conf".text;
        "mounts.json" = builtins.toJSON {
          inherit (config.fileSystems.${skyflake.storage.shared}) device fsType options;
        };
      } else { })
      // builtins.listToAttrs (
        map (name: {
          name = "authorized_keys.${name}";
          value = textOf config.environment.etc."ssh/authorized_keys.d/${name}";
        }) (builtins.filter (name: skyflake.users.${name}.sshKeys != [ ]) (builtins.attrNames skyflake.users))
      )
      // builtins.listToAttrs (
        map (name: {
          inherit name;
          value = config.systemd.units.${name}.text;
        }) (builtins.filter wanted (builtins.attrNames config.systemd.units))
      )
    );

  cluster = {
    # As the handbook says it.
    nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "nomad";
    skyflake = {
      nodes = {
        n1.address = "10.0.0.1";
        n2.address = "10.0.0.2";
        n3.address = "10.0.0.3";
      };
      nomad.enable = true;
      storage = {
        shared = "/srv/skyflake";
        defaultClass = "shared";
        classes.local.kind = "local";
        classes.shared = {
          kind = "leased";
          waitTime = 30;
        };
      };
      users.alice = {
        uid = 3001;
        sshKeys = [ (key "alice@laptop") ];
      };
    };
  };

  refusalsOf = config: {
    "refusals.json" = builtins.toJSON (
      map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions)
    );
  };
in
{
  # What the handbook begins with.
  least = filesOf (evaluate {
    skyflake.users.alice = {
      uid = 3001;
      sshKeys = [ (key "alice@laptop") ];
    };
  });

  # The same with a monitoring and a backup: what test/host-vm/module.bats runs.
  watched = filesOf (evaluate {
    skyflake = {
      users.alice = {
        uid = 3001;
        sshKeys = [ (key "alice@laptop") ];
      };
      metrics.enable = true;
      backup.enable = true;
    };
  });

  # Three hosts, as the handbook grows a cluster; one of them.
  cluster = filesOf (evaluate cluster);
  # Three hosts with Ceph of their own.
  ceph = filesOf (evaluate {
    imports = [ cluster ];
    skyflake = {
      storage = {
        shared = lib.mkForce "/srv/skyflake";
        defaultClass = lib.mkForce "ceph";
        classes = lib.mkForce {
          local.kind = "local";
          ceph = {
            kind = "fenced";
            pool = "skyflake";
          };
        };
      };
      ceph = {
        enable = true;
        fsid = "433a2193-4f8a-47a0-95d2-209d7ca2cca5";
        osds = builtins.listToAttrs (
          map (n: {
            name = toString n;
            value = {
              host = "n${toString (n / 2 + 1)}";
              device = "/dev/disk/by-id/nvme-${toString n}";
              class = if n == 1 then "fast" else null;
            };
          }) (lib.range 0 5)
        );
        publicNetworks = [ "10.0.0.0/24" ];
        clusterNetworks = [ "10.0.1.0/24" ];
        pools.skyflake = { };
        pools.fast = {
          size = 2;
          minSize = 1;
          class = "fast";
        };
      };
    };
  });

  # A host beside five servers, that is none itself, every option of a cluster another than its default.
  cluster-most = filesOf (evaluate {
    imports = [ cluster ];
    skyflake = {
      host = "n7";
      nodes = lib.mkForce (
        lib.genAttrs (map (n: "n${toString n}") (lib.range 1 7)) (name: {
          address = "2001:db8::${lib.removePrefix "n" name}";
        })
      );
      clusterNetworks = [ "10.0.1.0/24" ];
      secrets = "/run/keys/skyflake";
      debug = true;
      metrics = {
        enable = true;
        calendar = "*:0/5";
      };
      backup = {
        enable = true;
        directory = "/mnt/elsewhere/skyflake";
        calendar = "daily";
        keep = 14;
        token = "/run/keys/backup.token";
      };
      nomad = {
        servers = [
          "n1"
          "n2"
          "n3"
          "n4"
          "n5"
        ];
        clients = [
          "n6"
          "n7"
        ];
        region = "europe";
        datacenter = "rack-3";
        datacenters = [ "rack-3" ];
        nodePool = "fast";
        meta.rack = "a";
        tls = {
          ca = "/run/keys/ca.pem";
          cert = "/run/keys/agent.pem";
          key = "/run/keys/agent.key";
          clientCert = "/run/keys/cli.pem";
          clientKey = "/run/keys/cli.key";
        };
        gossip = null;
        tokens = {
          deploy = "/run/keys/deploy.token";
          host = "/run/keys/host.token";
          drain = "/run/keys/drain.token";
        };
        heartbeat = {
          ttl = 5;
          grace = 30;
          failoverTtl = 60;
        };
        leaseTime = 60;
        spare = "refuse";
        placements = {
          default.spreads = [ { attribute = "\${node.datacenter}"; } ];
          rack-a.constraints = [
            {
              attribute = "\${meta.rack}";
              value = "a";
            }
          ];
          fast = {
            affinities = [
              {
                attribute = "\${node.class}";
                operator = "!=";
                value = "slow";
                weight = 80;
              }
            ];
            priority = 70;
          };
        };
        drain.deadline = 600;
        placeTimeout = 300;
        vcpuMhz = 500;
        overhead = 256;
      };
      users.alice.placement = {
        placed = [ "rack-a" ];
        mayAsk = [ "fast" ];
      };
      networks.across = {
        mode = "vxlan";
        ipv4 = "10.102.0.0/16";
        ids = {
          first = 5000;
          last = 5999;
        };
        port = 8472;
      };
      networks.default.ipv4 = "10.88.0.0/16";
      storage.classes.rbd = {
        kind = "fenced";
        pool = "machines";
        user = "hosts";
        conf = "/etc/ceph/other.conf";
        keyring = "/run/keys/ceph.client.hosts.keyring";
      };
      reserve = {
        nomadMem = 2048;
        buildMem = 16384;
        cores = "0-1";
      };
    };
  });

  # Every option another than its default.
  most = filesOf (evaluate {
    services.openssh.authorizedKeysInHomedir = false;
    networking.useNetworkd = true;
    skyflake = {
      host = "rack-3";
      prefix = "sf";
      storage.directory = "/srv/skyflake";
      storage.keepVolumes = 604800;
      gc.calendar = "Sun 03:00";
      users.alice = {
        uid = 3001;
        sshKeys = [
          (key "alice@laptop")
          (key "alice@desk")
        ];
        quota = {
          machines = 2;
          vcpu = 4;
          mem = 4096;
          disk = 20480;
          cache = 8192;
        };
      };
      users.bob.uid = 3002;
      tenantUids = {
        first = 60000;
        count = 2000;
      };
      machines = {
        vcpuMax = 16;
        memMax = 32768;
        rootSize = 8192;
        readyTimeout = 300;
        stopTimeout = 120;
        uids = {
          first = 3000000;
          count = 4000;
        };
      };
      deploy = {
        customizationModule = "/inputs/customization";
        verbs = [ "restart" ];
        push = {
          maxSize = 64;
          waitTimeout = 0;
          idleTimeout = 600;
        };
      };
      cells = {
        substituters = [ "https://cache.example.org" ];
        trustedKeys = [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
        egress = [ "192.0.2.0/24" ];
        jobs = 4;
        evalTimeout = 1200;
        buildTimeout = 14400;
        mem = 16384;
        pids = 8192;
        cpuWeight = 50;
      };
      networks.default = {
        ipv4 = "10.99.0.0/16";
        tenantPrefix = 26;
        mtu = 9000;
        masquerade = false;
        dns = [ "9.9.9.9" ];
      };
      networks.second.ipv4 = "10.100.0.0/16";
      networks.office = {
        mode = "vlan";
        ipv4 = "10.101.0.0/16";
        ipv6 = "fd00:101::/48";
        uplink = "eth1";
        ids = {
          first = 100;
          last = 199;
        };
        tenants = [ "alice" ];
        dhcp = "operator";
      };
      networks.lan = {
        ipv4 = "192.168.7.0/24";
        shared = true;
        uplink = "eth2";
      };
      networks.edge = {
        mode = "routed";
        ipv4 = "203.0.113.0/24";
        tenantPrefix = 29;
        masquerade = false;
      };
      reserve = {
        mem = 4096;
        cpuWeight = 500;
      };
    };
  });

  # For those who stay with iptables.
  iptables =
    let
      config = evaluate { networking.nftables.enable = false; };
    in
    builtins.seq config.system.build.toplevel.drvPath {
      "interfaces.json" = builtins.toJSON (
        builtins.mapAttrs (_: link: {
          inherit (link) allowedTCPPorts allowedUDPPorts;
        }) config.networking.firewall.interfaces
      );
    };

  reference = optionsOf (system { });

  # What a cluster can not be.
  refused-cluster = refusalsOf (evaluate {
    networking.nftables.enable = false;
    skyflake = {
      host = "n9";
      nodes = {
        n1.address = "10.0.0.1";
        n2.address = "10.0.0.1";
        "Not a name".address = "2001:db8::3";
      };
      networks.default = {
        mode = "vlan";
        ipv4 = "10.88.0.0/16";
      };
      nomad = {
        enable = true;
        servers = [
          "n1"
          "n2"
        ];
        clients = [ "n8" ];
        heartbeat.ttl = 20;
      };
      users.alice = {
        uid = 3001;
        placement.placed = [ "nowhere" ];
      };
      storage = {
        defaultClass = "shared";
        classes."Not a name".kind = "leased";
        classes.fenced.kind = "fenced";
      };
    };
  });

  # What is not taken, each with its sentence.
  refused = refusalsOf (
    evaluate (
      { lib, ... }:
      {
        security.allowUserNamespaces = false;
        security.sudo.execWheelOnly = true;
        services.openssh.settings.UsePAM = false;
        networking.nftables.flushRuleset = true;
        skyflake = {
          cells.inputs = lib.mkForce { };
          networks."Not a name".ipv4 = "10.99.0.0/16";
          users.alice.uid = 2000000;
          users.bob.uid = 2000000;
          users."Not a name".uid = 3003;
          tenantUids.first = 1995000;
        };
      }
    )
  );
}
