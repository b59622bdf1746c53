# networking.* and systemd.network.*: each network with DHCP = "yes" gets a udhcpc on the link with its MAC.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  section = opt (types.attrsOf types.unspecified) { };

  lease = pkgs.writeShellScript "udhcpc.script" ''
    export PATH=${pkgs.busybox}/bin
    case $1 in
      deconfig) ip addr flush dev $interface; ip link set $interface up ;;
      bound|renew)
        ip addr flush dev $interface
        ip addr add $ip/$mask brd + dev $interface
        [ -z "$router" ] || ip route replace default via ''${router%% *} dev $interface
        for server in $dns; do echo "nameserver $server"; done > /run/resolv.conf
        echo "<<< $interface has address $ip >>>" > /dev/console ;;
    esac
  '';

  rename = _: l: ''
    for link in /sys/class/net/*; do
      [ "$(cat $link/address)" != "${l.matchConfig.MACAddress or ""}" ] || ip link set ''${link##*/} name ${l.linkConfig.Name}
    done
  '';
  dhcp = _: n: ''
    for link in /sys/class/net/*; do
      [ "$(cat $link/address)" != "${n.matchConfig.MACAddress or ""}" ] || {
        ip link set ''${link##*/} up
        udhcpc -b -t 30 -T 1 -S -i ''${link##*/} -s ${lease} > /dev/null 2>&1 &
      }
    done
  '';
  hasName = lib.filterAttrs (_: l: l.linkConfig ? Name);
  hasDhcp = lib.filterAttrs (
    _: n:
    lib.elem (n.networkConfig.DHCP or n.DHCP or "no") [
      "yes"
      "ipv4"
    ]
  );
in
{
  options = {
    networking = {
      hostName = opt types.str "nixos";
      hostId = opt (types.nullOr types.str) null;
      domain = opt (types.nullOr types.str) null;
      useDHCP = opt types.bool true;
      useNetworkd = opt types.bool false;
      usePredictableInterfaceNames = opt types.bool true;
      nameservers = opt (types.listOf types.str) [ ];
      interfaces = opt (types.attrsOf types.attrs) { };
      firewall = {
        enable = opt types.bool true;
        allowPing = opt types.bool true;
        allowedTCPPorts = opt (types.listOf types.port) [ ];
        allowedUDPPorts = opt (types.listOf types.port) [ ];
      };
    };
    systemd.network = {
      enable = opt types.bool false;
      wait-online.enable = opt types.bool true;
      links = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              matchConfig = section;
              linkConfig = section;
            };
          }
        );
      };
      networks = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              matchConfig = section;
              linkConfig = section;
              networkConfig = section;
              dhcpV4Config = section;
              DHCP = opt types.str "no";
            };
          }
        );
      };
    };
  };

  config.environment.etc."rc.network".text = ''
    export PATH=${pkgs.busybox}/bin
    rm -f /etc/resolv.conf
    ln -s /run/resolv.conf /etc/resolv.conf
    ${lib.concatStrings (lib.mapAttrsToList rename (hasName config.systemd.network.links))}
    ${lib.concatStrings (lib.mapAttrsToList dhcp (hasDhcp config.systemd.network.networks))}
  '';
}
