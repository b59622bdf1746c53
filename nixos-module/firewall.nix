# What hosts need from each other, and from nobody else: Nomad, Ceph, tunnels. What guests and tenants' uids may not is
# sky-net-setup's, in tables of its own.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  inherit (lib) mkOption types;

  others = lib.mapAttrsToList (_: node: node.address) (
    lib.filterAttrs (name: _: name != cfg.host) cfg.nodes
  );
  isV6 = lib.hasInfix ":";
  ports = lib.concatMapStringsSep ", " toString;

  rule =
    family: addresses: protocol: list:
    lib.optionalString (addresses != [ ] && list != [ ]) ''
      ${family} saddr { ${lib.concatStringsSep ", " addresses} } ${protocol} dport { ${ports list} } accept comment "skyflake: hosts"
    '';
  rules =
    protocol: list:
    rule "ip" (lib.filter (address: !isV6 address) others) protocol list
    + rule "ip6" (lib.filter isV6 others) protocol list;

  port = types.either types.port (types.strMatching "[0-9]{1,5}-[0-9]{1,5}");
  internal =
    description:
    mkOption {
      type = types.listOf port;
      default = [ ];
      internal = true;
      inherit description;
    };
in
{
  options.skyflake.firewall.hosts = {
    tcp = internal "TCP ports that the other hosts may reach.";
    udp = internal "UDP ports that the other hosts may reach.";
  };

  config = lib.mkIf (cfg.enable && others != [ ]) {
    assertions = [
      {
        assertion = config.networking.nftables.enable;
        message = "skyflake.nodes: the rules between hosts are nftables' (networking.nftables.enable)";
      }
    ];

    skyflake.firewall.hosts = lib.mkIf cfg.nomad.enable {
      tcp = [
        4646
        4647
      ]
      ++ lib.optional (lib.elem cfg.host cfg.nomad.servers) 4648;
      udp = lib.optional (lib.elem cfg.host cfg.nomad.servers) 4648;
    };

    networking.firewall.extraInputRules = lib.mkIf config.networking.nftables.enable (
      rules "tcp" cfg.firewall.hosts.tcp + rules "udp" cfg.firewall.hosts.udp
    );
  };
}
