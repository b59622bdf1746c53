# nixosModules.microvm: options, the guest's file systems, and the runner.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.microvm;
  letters = lib.drop (if cfg.storeOnDisk then 1 else 0) lib.strings.lowerChars;
  volumes = lib.zipListsWith (volume: letter: volume // { inherit letter; }) cfg.volumes letters;
in
{
  imports = [ ./options.nix ];

  config = lib.mkIf cfg.guest.enable {
    boot.loader.grub.enable = false;
    boot.kernelParams = [ "8250.nr_uarts=1" ];
    networking.useNetworkd = lib.mkDefault true;
    networking.hostId = lib.mkIf (cfg.machineId != null) (lib.mkDefault (builtins.substring 0 8 cfg.machineId));
    environment.etc."machine-id" = lib.mkIf (cfg.machineId != null) {
      text = lib.replaceString "-" "" cfg.machineId + "\n";
    };

    fileSystems = lib.mkMerge [
      {
        "/" = lib.mkDefault {
          device = "rootfs";
          fsType = "tmpfs";
          options = [ "size=50%,mode=0755" ];
          neededForBoot = true;
        };
      }
      (lib.optionalAttrs cfg.storeOnDisk {
        "/nix/store" = {
          device = "/dev/vda";
          fsType = "erofs";
          neededForBoot = true;
        };
      })
      (lib.listToAttrs (
        map (volume: lib.nameValuePair volume.mountPoint {
          inherit (volume) fsType;
          device = "/dev/vd${volume.letter}";
        }) (lib.filter (volume: volume.mountPoint != null) volumes)
      ))
      (lib.listToAttrs (
        map (
          share:
          lib.nameValuePair share.mountPoint {
            device = share.tag;
            fsType = share.proto;
            neededForBoot = share.source == "/nix/store";
          }
        ) cfg.shares
      ))
    ];

    microvm.runner.qemu = import ./runner.nix {
      inherit lib pkgs volumes;
      microvm = cfg;
      inherit (config.networking) hostName;
      inherit (config.system.build) toplevel;
    };
  };
}
