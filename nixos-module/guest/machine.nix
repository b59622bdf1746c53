# deployment.* in terms of microvm.nix. The paths are those of the sandbox that the runner is started in.
{
  config,
  lib,
  skyflake,
  ...
}:
let
  inherit (skyflake) machine identity;
  cfg = config.deployment;
  disks = import ./volumes.nix { inherit lib; } cfg;

  nameIsGood = name: builtins.match "[a-z][a-z0-9-]{0,39}" name != null;
  named = kind: name: {
    assertion = nameIsGood name;
    message = "the name of ${kind} '${name}' must be [a-z][a-z0-9-]{0,39}";
  };
in
{
  config = {
    # Weaker than a mkDefault of the tenant's.
    networking.hostName = lib.mkOverride 1200 machine;

    deployment.volumes.root = {
      size = lib.mkDefault identity.rootMib;
      mountPoint = lib.mkDefault "/";
    };

    assertions =
      map (named "deployment.volumes") (lib.attrNames cfg.volumes)
      ++ map (named "deployment.networks") cfg.networks
      ++ [
        {
          assertion = lib.length cfg.networks <= lib.length identity.macs;
          message = "deployment.networks has more than ${toString (lib.length identity.macs)} entries";
        }
      ];

    microvm = {
      inherit (cfg) vcpu mem hypervisor;
      inherit (identity) machineId;
      socket = "/sky/run/qmp.sock";

      shares = lib.optional (cfg.store == "virtiofs") {
        tag = "store";
        proto = "virtiofs";
        source = "/nix/store";
        socket = "/sky/sock/store.sock";
        mountPoint = "/nix/store";
        readOnly = true;
      };

      volumes = map (disk: {
        inherit (disk) mountPoint size readOnly;
        image = "/sky/volumes/${disk.name}.img";
        autoCreate = false;
      }) disks;

      interfaces = lib.imap0 (n: mac: {
        inherit mac;
        type = "tap";
        id = "sky${toString n}";
      }) (lib.take (lib.length cfg.networks) identity.macs);
    };

    # By force, because a configuration that ran elsewhere before may mount disks that are not here.
    fileSystems = lib.listToAttrs (
      map (
        disk:
        lib.nameValuePair disk.mountPoint {
          device = lib.mkForce disk.device;
          fsType = lib.mkForce "ext4";
          autoFormat = lib.mkDefault (!disk.readOnly);
          autoResize = lib.mkDefault (!disk.readOnly);
          options = lib.mkIf disk.readOnly [ "ro" ];
        }
      ) (lib.filter (disk: disk.mountPoint != null) disks)
    );
  };
}
