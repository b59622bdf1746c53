# The hosts of the cluster: the same list on each of them.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;

  node = types.submodule {
    options.address = mkOption {
      type = sky.types.address;
      example = "10.0.0.1";
      description = "Address by which the other hosts reach this one.";
    };
  };

  addresses = lib.mapAttrsToList (_: node: node.address) cfg.nodes;
in
{
  options.skyflake = {
    nodes = mkOption {
      type = types.attrsOf node;
      default = { };
      example = {
        n1.address = "10.0.0.1";
        n2.address = "10.0.0.2";
        n3.address = "10.0.0.3";
      };
      description = ''
        Hosts of the cluster by name (`skyflake.host`). Each has the same list. They know each other by these names
        (/etc/hosts), their firewalls let these addresses in where hosts need each other, and no machine and no tenant's
        process reaches them.
      '';
    };

    clusterNetworks = mkOption {
      type = types.listOf sky.types.cidr;
      default = [ ];
      example = [
        "10.0.0.0/24"
        "10.0.1.0/24"
      ];
      description = ''
        Subnets, beside the hosts' addresses, that no machine and no tenant's process reaches, whatever
        `skyflake.cells.egress` says: those of the scheduler, of the storage, of the hosts' management.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.nodes == { } || cfg.nodes ? ${cfg.host};
        message = "skyflake.nodes: this host, '${cfg.host}', is not among them";
      }
      {
        assertion = lib.all sky.types.name.check (lib.attrNames cfg.nodes);
        message = "skyflake.nodes: a host's name must be [a-z][a-z0-9-]{0,39}";
      }
      {
        assertion = lib.all (address: lib.hasInfix ":" address == lib.hasInfix ":" (lib.head addresses)) addresses;
        message = "skyflake.nodes: addresses must be all IPv4 or all IPv6";
      }
      {
        assertion = lib.allUnique addresses;
        message = "skyflake.nodes: two hosts have one address";
      }
    ];

    networking.hosts = lib.mapAttrs' (
      name: node: lib.nameValuePair node.address [ name ]
    ) cfg.nodes;
  };
}
