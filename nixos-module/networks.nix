# Networks that machines ask for, and this host's own firewall beside them. The rules about guests and tenants are
# sky-net-setup's, in tables of its own.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  # Bridges, taps, VXLANs, the switches that trunks are plugged into.
  links = map (kind: "${cfg.prefix}${kind}*") [
    "b"
    "t"
    "w"
    "x"
  ];

  network = types.submodule {
    options = {
      mode =
        option
          (types.enum [
            "bridge"
            "vlan"
            "vxlan"
            "routed"
          ])
          "bridge"
          "vxlan"
          ''
            What a tenant's segment is: `bridge`, one on each host by itself; `vlan`, a VLAN of the trunk `uplink`; `vxlan`, a tunnel
            between the hosts of `skyflake.nodes`; `routed`, a route to each machine, protocol number 83, for your bird or FRR
            to tell the network.
          '';
      shared = option types.bool false true ''
        Whether all tenants have one segment together, instead of one each.
      '';
      tenants = option (types.nullOr (types.listOf sky.types.shortName)) null [ "alice" ] ''
        Who may use it, tenants added by `sky-shell tenant add` too; null: everybody.
      '';
      ipv4 = mkOption {
        type = sky.types.cidr4;
        example = "10.88.0.0/16";
        description = "The range of all tenants' machines; nothing else of your network may lie in it.";
      };
      ipv6 = option (types.nullOr (types.strMatching "[0-9a-fA-F:]+/[0-9]{2}")) null "fd00:88::/48" ''
        A range of /16 to /64, of which each segment has a /64; null: machines have link-local addresses alone.
      '';
      tenantPrefix =
        option (sky.types.between 8 30) 24 26
          "Length of each tenant's own subnet in `ipv4`, where it is not shared.";
      mtu = option (types.nullOr (sky.types.between 576 65521)) null 9000 ''
        MTU of the machines' links; null: what the way below carries.
      '';
      uplink = option (types.nullOr (types.strMatching "[A-Za-z0-9_][A-Za-z0-9._-]{0,14}")) null "eth1" ''
        The host's link that the segments are on: the trunk of mode `vlan`, or what a shared `bridge` is plugged into. It belongs
        to this network: without addresses, in no other bridge.
      '';
      ids = mkOption {
        type = types.nullOr (
          types.submodule {
            options = {
              first = mkOption {
                type = sky.types.between 1 16777215;
                example = 1000;
                description = "The first tenant's, or the shared segment's.";
              };
              last = mkOption {
                type = sky.types.between 1 16777215;
                example = 1999;
                description = "The last that may be given out.";
              };
            };
          }
        );
        default = null;
        example = {
          first = 1000;
          last = 1999;
        };
        description = "VLANs (to 4094) or VXLAN's numbers that are this network's, one for each tenant.";
      };
      port = option types.port 4789 8472 "UDP port of mode `vxlan`.";
      dhcp =
        option
          (types.enum [
            "host"
            "operator"
          ])
          "host"
          "operator"
          ''
            Whose router, DHCP and DNS are on the segments: each host's, for its machines; or yours, behind the `uplink`, where
            `sky-net-setup reservations` says which address is whose.
          '';
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
      Networks by name. On each a tenant has a segment of its own, unless it is `shared`; machines of other tenants are not on it. A machine that
      asks for nothing is on `default`.
    '';
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (
      lib.mapAttrsToList (name: network: [
        {
          assertion =
            lib.elem network.mode [
              "vlan"
              "vxlan"
            ] == (network.ids != null);
          message = "skyflake.networks.${name}.ids: for modes vlan and vxlan, which need them";
        }
        {
          assertion =
            if network.mode == "vlan" then
              network.uplink != null
            else
              network.uplink == null || (network.mode == "bridge" && network.shared);
          message = "skyflake.networks.${name}.uplink: mode vlan needs one, a shared bridge may have one, others have none";
        }
        {
          assertion = network.mode == "vxlan" -> cfg.nodes != { };
          message = "skyflake.networks.${name}.mode: vxlan is between the hosts of skyflake.nodes";
        }
      ]) cfg.networks
    )
    ++ [
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

    skyflake.firewall.hosts.udp = lib.unique (
      lib.mapAttrsToList (_: network: network.port) (
        lib.filterAttrs (_: network: network.mode == "vxlan") cfg.networks
      )
    );

    # From guests the host takes DHCP and DNS; sky-net-setup's rules drop the rest.
    networking.firewall.extraInputRules = lib.mkIf config.networking.nftables.enable ''
      iifname { "${cfg.prefix}b*", "${cfg.prefix}t*" } udp dport { 53, 67 } accept comment "skyflake"
      iifname { "${cfg.prefix}b*", "${cfg.prefix}t*" } tcp dport 53 accept comment "skyflake"
    '';
    networking.firewall.extraForwardRules = lib.mkIf config.networking.nftables.enable ''
      iifname { "${cfg.prefix}b*", "${cfg.prefix}t*" } accept comment "skyflake"
      oifname { "${cfg.prefix}b*", "${cfg.prefix}t*" } accept comment "skyflake"
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
    boot.kernel.sysctl = {
      "net.ipv4.conf.all.forwarding" = lib.mkOverride 99 true;
    }
    // lib.optionalAttrs (lib.any (network: network.ipv6 != null) (lib.attrValues cfg.networks)) {
      "net.ipv6.conf.all.forwarding" = lib.mkOverride 99 true;
    };

    # The links are sky-net-setup's alone.
    networking.dhcpcd.denyInterfaces = links;
    networking.networkmanager.unmanaged = map (name: "interface-name:${name}") links;
    systemd.network.networks."05-skyflake" = {
      matchConfig.Name = lib.concatStringsSep " " links;
      linkConfig.Unmanaged = true;
    };
  };
}
