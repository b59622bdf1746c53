{
  description = "Machines for test/drift, each for one way to write a flake";

  outputs =
    { self, nixpkgs }:
    let
      machine =
        module:
        nixpkgs.lib.nixosSystem {
          modules = [
            {
              nixpkgs.hostPlatform = "x86_64-linux";
              system.stateVersion = "25.11";
            }
            module
          ];
        };
    in
    {
      nixosConfigurations = {
        # No system =, no host name.
        host-platform = machine { };

        # The store as a disk image.
        disk = machine {
          deployment = {
            store = "disk";
            onPoweroff = "stay";
            networks = [
              "default"
              "storage"
            ];
            volumes.archive = {
              size = 1024;
              class = "slow";
              readOnly = true;
              mountPoint = "/archive";
            };
          };
        };

        # Ran on other hardware before.
        moved = machine (
          { lib, ... }:
          {
            networking.hostName = "moved";
            networking.useDHCP = lib.mkDefault true;
            fileSystems."/" = {
              device = "/dev/disk/by-uuid/0d3b2d42-8b3a-4c58-a1d5-b77e1f1a0f6c";
              fsType = "btrfs";
            };
            boot.initrd.availableKernelModules = [ "ahci" ];
          }
        );
      };
    };
}
