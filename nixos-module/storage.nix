# Where everything lies that outlives a reboot.
{ lib, ... }:
let
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
in
{
  options.skyflake.storage = {
    id = mkOption {
      type = sky.types.hex32;
      example = "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f";
      description = ''
        Id of the storage: 32 hex digits that you make once (`openssl rand -hex 16`). On the host, once,
        `sky-vm-run storage init` writes it into the storage; where it is not found later nothing starts, so that a disk
        that is not mounted is never taken for an empty one.
      '';
    };

    keepVolumes = mkOption {
      type = sky.types.between 0 316224000;
      default = 2592000;
      example = 604800;
      description = ''
        Seconds that the volumes of a deleted branch wait for it to come back. Until then they count against the quota.
      '';
    };

    directory = mkOption {
      type = types.strMatching "(/[A-Za-z0-9._+-]+)+";
      default = "/var/lib/skyflake";
      example = "/srv/skyflake";
      description = "Directory for repositories, cells, caches, records and volumes.";
    };
  };
}
