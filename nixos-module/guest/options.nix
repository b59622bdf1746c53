# What a tenant may ask for. No option needs to be set; the operator grants or refuses.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  # A flake that imports this file for its own evaluations may do so beside the host's copy.
  key = "skyflake-deployment-options";

  options.deployment = {
    vcpu = mkOption {
      type = types.ints.positive;
      default = 1;
      description = "Number of virtual CPUs.";
    };

    mem = mkOption {
      type = types.ints.positive;
      default = 512;
      description = "Memory in MiB.";
    };

    hypervisor = mkOption {
      type = types.str;
      default = "qemu";
      description = "Hypervisor, one of those that the operator allows.";
    };

    store = mkOption {
      type = types.enum [
        "virtiofs"
        "disk"
      ];
      default = "virtiofs";
      description = "How the machine gets its /nix/store: shared by the host, or as a disk image of its own.";
    };

    volumes = mkOption {
      default = { };
      example = {
        data = {
          size = 10240;
          mountPoint = "/var/lib/data";
        };
      };
      description = ''
        Disks that outlive deployments, by name. There is always one named root, mounted at / unless it says otherwise.
      '';
      type = types.attrsOf (
        types.submodule {
          options = {
            size = mkOption {
              type = types.ints.positive;
              description = "Size in MiB. A volume may grow, never shrink.";
            };
            class = mkOption {
              type = types.nullOr types.str;
              default = null;
              description = "Storage class, or null for the operator's default.";
            };
            mountPoint = mkOption {
              type = types.nullOr types.str;
              default = null;
              description = "Where to mount it as ext4, or null to leave the bare disk to the machine.";
            };
            readOnly = mkOption {
              type = types.bool;
              default = false;
              description = "Whether writing to it is refused.";
            };
          };
        }
      );
    };

    networks = mkOption {
      type = types.listOf types.str;
      default = [ "default" ];
      description = "Networks of the operator's, one interface each, in this order: sky0, sky1 and so on.";
    };

    ready.tcp = mkOption {
      type = types.nullOr types.port;
      default = null;
      example = 80;
      description = "The machine is up once this TCP port accepts connections; null: once its hypervisor runs.";
    };

    ready.notify = mkOption {
      type = types.bool;
      default = false;
      description = ''
        The machine is up once it has written the line READY=1 to its console, as the service skyflake-ready does behind
        multi-user.target; order that behind what has to be there.
      '';
    };

    placement = {
      ask = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "fast" ];
        description = "Names of the operator's for where the machine should run.";
      };

      apart = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "db" ];
        description = "Machines (or REPO/MACHINE) of the same tenant that it shall not share a host with.";
      };
    };

    onPoweroff = mkOption {
      type = types.enum [
        "restart"
        "stay"
      ];
      default = "restart";
      description = "What follows when the machine powers itself off.";
    };
  };
}
