# Tenants: accounts that git pushes come to, with keys and a quota.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  quota = {
    machines = option (sky.types.between 0 100000) 8 2 "Machines.";
    vcpu = option (sky.types.between 0 1000000) 16 4 "Virtual CPUs of all machines together.";
    mem = option sky.types.mib 16384 4096 "Memory of all machines together, in MiB.";
    disk = option sky.types.mib 102400 20480 ''
      Volumes of all machines together, in MiB; those that deleted branches left behind count.
    '';
    cache = option sky.types.mib 20480 8192 "The tenant's cache of deployments, in MiB, compressed.";
  };

  user = types.submodule {
    options = {
      uid = mkOption {
        type = sky.types.between 1 2147483646;
        example = 3001;
        description = "The account's uid and gid. It stays with the tenant for ever: the tenant's files carry it.";
      };
      home = option sky.types.directory "/var/empty" "/home/alice" ''
        The account's home, as passwd says it. Skyflake makes nothing there and reads nothing, no keys either.
      '';
      sshKeys = mkOption {
        type = types.listOf types.singleLineStr;
        default = [ ];
        example = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ... alice@laptop" ];
        description = "Public keys that may push and ask. Each is restricted to that.";
      };
      inherit quota;
      placement = {
        placed = option (types.listOf sky.types.name) [ ] [ "rack-a" ] ''
          Which of `skyflake.nomad.placements` hold for all of the tenant's machines.
        '';
        mayAsk = option (types.listOf sky.types.name) [ ] [ "fast" ] ''
          Which of them a machine may ask for.
        '';
      };
    };
  };

  uids = lib.mapAttrsToList (_: user: user.uid) cfg.users;
in
{
  options.skyflake.users = mkOption {
    type = types.attrsOf user;
    default = { };
    example = {
      alice = {
        uid = 3001;
        sshKeys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ... alice@laptop" ];
        quota.machines = 4;
      };
    };
    description = "Tenants by name. A tenant has no shell here: git push and fetch, and the verbs that `ssh HOST help` lists.";
  };
  options.skyflake.tenantUids = {
    first = option (sky.types.between 1000 2147483632) 40000 60000 ''
      First uid of tenants that `sky-shell tenant add` adds. No other account of the host may lie in the range, and none of
      `skyflake.machines.uids`. The default is not where nixpkgs has those of its builders.
    '';
    count = option (sky.types.between 1 1000000) 10000 2000 "How many uids there are for them.";
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.all sky.types.shortName.check (lib.attrNames cfg.users);
        message = "skyflake.users: a tenant's name must be [a-z][a-z0-9-]{0,30}";
      }
      {
        assertion = lib.allUnique uids;
        message = "skyflake.users: two tenants have one uid";
      }
      {
        assertion = lib.all (
          uid: uid < cfg.machines.uids.first || uid >= cfg.machines.uids.first + cfg.machines.uids.count
        ) uids;
        message = "skyflake.users: a tenant's uid lies in skyflake.machines.uids";
      }
      {
        assertion =
          cfg.tenantUids.first + cfg.tenantUids.count <= cfg.machines.uids.first
          || cfg.machines.uids.first + cfg.machines.uids.count <= cfg.tenantUids.first;
        message = "skyflake.tenantUids: they meet skyflake.machines.uids";
      }
    ];

    # A system account: no home made, no range of subordinate uids.
    users.users = lib.mapAttrs (name: user: {
      inherit (user) uid;
      isSystemUser = true;
      group = name;
      extraGroups = [ "skyflake-tenants" ];
      description = "Skyflake tenant";
      inherit (user) home;
      shell = "/run/current-system/sw/bin/sky-shell";
      openssh.authorizedKeys.keys = map (key: "restrict ${key}") user.sshKeys;
    }) cfg.users;
    users.groups = lib.mapAttrs (_: user: { gid = user.uid; }) cfg.users // {
      skyflake-tenants = { };
    };
  };
}
