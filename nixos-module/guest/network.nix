# Inside the machine: interface K of the manifest is named skyK, found by its MAC, and asks for its address by DHCP.
{
  config,
  lib,
  ...
}:
let
  perInterface =
    value:
    lib.listToAttrs (
      map (
        { id, mac, ... }:
        lib.nameValuePair "10-${id}" ({ matchConfig.MACAddress = mac; } // value id)
      ) config.microvm.interfaces
    );
in
{
  config = {
    # Stronger than the mkDefault that hardware configurations carry, weaker than a decision of the tenant's.
    networking.useDHCP = lib.mkOverride 900 false;
    networking.useNetworkd = lib.mkOverride 900 true;

    systemd.network = {
      enable = lib.mkDefault true;
      links = perInterface (id: { linkConfig.Name = id; });
      networks = perInterface (_: {
        networkConfig.DHCP = lib.mkDefault "yes";
        dhcpV4Config.ClientIdentifier = lib.mkDefault "mac";
        dhcpV4Config.UseMTU = lib.mkDefault true; # networkd does not by itself; of IPv6 it takes the router's word
      });
    };
  };
}
