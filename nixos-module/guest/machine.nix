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
        {
          assertion = !(cfg.ready.notify && cfg.ready.tcp != null);
          message = "deployment.ready.notify and deployment.ready.tcp are two ways to say the same: set one of them";
        }
      ];

    # Three times: the kernel's messages go to the same console, and may fall into a line.
    systemd.services.skyflake-ready = lib.mkIf cfg.ready.notify {
      description = "Tells the host that this machine is ready";
      wantedBy = [ "multi-user.target" ];
      after = [ "multi-user.target" ];
      serviceConfig.Type = "oneshot";
      serviceConfig.RemainAfterExit = true;
      script = ''
        for _ in 1 2 3; do
          printf '\nREADY=1\n' > /dev/console
          sleep 1
        done
      '';
    };

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
