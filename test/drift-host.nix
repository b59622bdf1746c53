# What test/drift-host looks at: files of a few hosts, made with the nixpkgs at a path.
{ nixpkgs }:
let
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

  units = [
    "skyflake-gc.service"
    "skyflake-gc.timer"
    "skyflake-host.service"
    "skyflake-reconcile.service"
    "system.slice"
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
        }) (builtins.filter (name: config.systemd.units ? ${name}) units)
      )
    );

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
        };
      }
    )
  );
}
