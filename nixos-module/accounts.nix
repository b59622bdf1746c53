# The service accounts that stand behind sudo, and the one of DHCP and DNS. None has a shell or a home.
{ config, lib, ... }:
let
  cfg = config.skyflake;
  account = description: name: {
    users.users.${name} = {
      isSystemUser = true;
      group = name;
      inherit description;
    };
    users.groups.${name} = { };
  };
in
{
  config = lib.mkIf cfg.enable (
    lib.mkMerge (
      lib.mapAttrsToList (name: description: account description name) {
        skyflake-cache = "Skyflake, tenants' caches and signing keys";
        skyflake-deploy = "Skyflake, records of what is to run";
        skyflake-dns = "Skyflake, DHCP and DNS for machines";
      }
    )
  );
}
