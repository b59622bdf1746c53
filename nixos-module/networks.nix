# Networks that machines ask for, and this host's own firewall beside them. The rules about guests and tenants are
# sky-net-setup's, in tables of its own.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  links = [
    "${cfg.prefix}b*"
    "${cfg.prefix}t*"
  ];

  network = types.submodule {
    options = {
      ipv4 = mkOption {
        type = sky.types.cidr4;
        example = "10.88.0.0/16";
        description = "The range of all tenants' machines; nothing else of your network may lie in it.";
      };
      tenantPrefix =
        option (sky.types.between 8 30) 24 26
          "Length of each tenant's own subnet in it.";
      mtu = option (sky.types.between 576 65521) 1500 9000 "MTU of the machines' links.";
      masquerade =
        option types.bool true false
          "Whether machines reach the world by this host's address.";
      dns = option (types.listOf sky.types.address) [ ] [ "9.9.9.9" ] ''
        Name servers that machines' questions are passed on to; none: those of this host.
      '';
    };
  };
in
{
  options.skyflake.networks = mkOption {
    type = types.attrsOf network;
    default.default.ipv4 = "10.88.0.0/16";
    example.default = {
      ipv4 = "10.99.0.0/16";
      dns = [ "9.9.9.9" ];
    };
    description = ''
      Networks by name. On each a tenant has a bridge of its own; machines of other tenants are not on it. A machine that
      asks for nothing is on `default`.
    '';
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.all sky.types.name.check (lib.attrNames cfg.networks);
        message = "skyflake.networks: a network's name must be [a-z][a-z0-9-]{0,39}";
      }
      {
        assertion = !(config.networking.nftables.enable && config.networking.nftables.flushRuleset);
        message = "skyflake: networking.nftables.flushRuleset would take the rules about machines and tenants away";
      }
    ];

    networking.nftables.enable = lib.mkDefault true;

    # From guests the host takes DHCP and DNS; sky-net-setup's rules drop the rest.
    networking.firewall.extraInputRules = lib.mkIf config.networking.nftables.enable ''
      iifname "${cfg.prefix}b*" udp dport { 53, 67 } accept comment "skyflake"
      iifname "${cfg.prefix}b*" tcp dport 53 accept comment "skyflake"
    '';
    networking.firewall.extraForwardRules = lib.mkIf config.networking.nftables.enable ''
      iifname "${cfg.prefix}b*" accept comment "skyflake"
    '';
    networking.firewall.interfaces = lib.mkIf (!config.networking.nftables.enable) (
      {
        "${cfg.prefix}b+" = {
          allowedUDPPorts = [
            53
            67
          ];
          allowedTCPPorts = [ 53 ];
        };
      }
    );

    # On for good: a switch that applies sysctls again would cut machines off.
    boot.kernel.sysctl."net.ipv4.conf.all.forwarding" = lib.mkOverride 99 true;

    # The links are sky-net-setup's alone.
    networking.dhcpcd.denyInterfaces = links;
    networking.networkmanager.unmanaged = map (name: "interface-name:${name}") links;
    systemd.network.networks."05-skyflake" = {
      matchConfig.Name = lib.concatStringsSep " " links;
      linkConfig.Unmanaged = true;
    };
  };
}
