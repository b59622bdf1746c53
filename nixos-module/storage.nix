# Where everything lies that outlives a reboot, and what machines' volumes lie on.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  class = types.submodule {
    options = {
      kind = mkOption {
        type = types.enum [
          "local"
          "leased"
          "fenced"
        ];
        example = "leased";
        description = ''
          `local`: files in this host's own directory; the machine stays on the host that made them. `leased`: files in the
          directory that the hosts share, written by the host that holds its lease, and moved with the machine. `fenced`: images
          on Ceph, which cuts off the host that had them before.
        '';
      };
      pool = mkOption {
        type = types.nullOr (types.strMatching "[A-Za-z0-9._-]{1,64}");
        default = null;
        example = "skyflake";
        description = "Of a `fenced` class: Ceph's pool.";
      };
      user = mkOption {
        type = types.strMatching "[A-Za-z0-9._-]{1,64}";
        default = "skyflake";
        example = "hosts";
        description = ''
          Of a `fenced` class: the hosts' user, `client.USER`, with the caps `mon 'profile rbd'` and `osd 'profile rbd pool=POOL'`.
        '';
      };
      conf = mkOption {
        type = sky.types.directory;
        default = "/etc/ceph/ceph.conf";
        example = "/etc/ceph/other.conf";
        description = "Of a `fenced` class: where the monitors are.";
      };
      keyring = mkOption {
        type = sky.types.secret;
        default = "${cfg.secrets}/ceph.client.skyflake.keyring";
        defaultText = lib.literalExpression ''"''${config.skyflake.secrets}/ceph.client.skyflake.keyring"'';
        example = "/run/keys/ceph.client.hosts.keyring";
        description = "Of a `fenced` class: the key of that user, root's alone.";
      };
      waitTime = mkOption {
        type = types.nullOr sky.types.secondsOrNone;
        default = null;
        example = 30;
        description = ''
          Of a `leased` class: seconds that the shared filesystem may still take writes of a host that it lost, and one for a
          killed machine to be gone. Its own session or lock timeout; without this number there is no such class.
        '';
      };
    };
  };

  ofKind = kind: lib.filter (class: class.kind == kind) (lib.attrValues cfg.storage.classes);
  fenced = ofKind "fenced" != [ ];
  shares = fenced || ofKind "leased" != [ ];
in
{
  options.skyflake.storage = {
    id = mkOption {
      type = sky.types.hex32;
      example = "5d0c6b1c9e0f4a2f8f7d3a1be2c45d6f";
      description = ''
        Id of the storage: 32 hex digits that you make once (`openssl rand -hex 16`). On the host, once,
        `sky-vm-run storage init` writes it into the storage (in a cluster into the shared one, from any host); where it is
        not found later nothing starts, so that a disk that is not mounted is never taken for an empty one.
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
      type = sky.types.directory;
      default = "/var/lib/skyflake";
      example = "/srv/skyflake";
      description = "Directory for repositories, cells, caches, records and volumes; in a cluster for what is this host's own.";
    };

    shared = mkOption {
      type = types.nullOr sky.types.directory;
      default = null;
      example = "/srv/skyflake";
      description = ''
        In a cluster the directory that all hosts share: repositories, caches, records, volumes of shared classes. On a
        filesystem whose flock(2) and fcntl(2) locks hold across hosts and end with their holder, and, for `leased` volumes,
        with O_DIRECT; mounting it is yours (`fileSystems`), unless `skyflake.ceph` does it.
      '';
    };

    classes = mkOption {
      type = types.attrsOf class;
      default.local.kind = "local";
      example = {
        local.kind = "local";
        shared = {
          kind = "leased";
          waitTime = 30;
        };
      };
      description = "Storage classes by name: what a machine's volume may ask for.";
    };

    defaultClass = mkOption {
      type = sky.types.name;
      default = "local";
      example = "shared";
      description = "Class of a volume that asks for none, the root among them.";
    };

    daemon = mkOption {
      type = types.package;
      default = pkgs.qemu-utils.override {
        fuseSupport = true;
        cephSupport = fenced;
      };
      defaultText = lib.literalMD "`pkgs.qemu-utils` with FUSE, and with Ceph where a class is `fenced`";
      example = lib.literalExpression "pkgs.qemu_full";
      description = ''
        QEMU's tools, with FUSE: `qemu-storage-daemon` opens each machine's leased and fenced volumes, outside of its sandbox.
      '';
    };

    shares = option types.bool shares true "Whether a class is one of several hosts." // {
      internal = true;
      readOnly = true;
    };
    fenced = option types.bool fenced true "Whether a class is Ceph's." // {
      internal = true;
      readOnly = true;
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.storage.classes ? ${cfg.storage.defaultClass};
        message = "skyflake.storage.defaultClass: '${cfg.storage.defaultClass}' is not one of skyflake.storage.classes";
      }
      {
        assertion = lib.all sky.types.name.check (lib.attrNames cfg.storage.classes);
        message = "skyflake.storage.classes: a class's name must be [a-z][a-z0-9-]{0,39}";
      }
      {
        assertion = lib.all (class: (class.kind == "leased") == (class.waitTime != null)) (
          lib.attrValues cfg.storage.classes
        );
        message = "skyflake.storage.classes: waitTime is for a leased class, and it must have one";
      }
      {
        assertion = lib.all (class: (class.kind == "fenced") == (class.pool != null)) (
          lib.attrValues cfg.storage.classes
        );
        message = "skyflake.storage.classes: pool is for a fenced class, and it must have one";
      }
      {
        assertion = cfg.nomad.enable -> cfg.storage.shared != null;
        message = "skyflake.storage.shared: a cluster needs a directory that its hosts share";
      }
      {
        assertion = cfg.storage.shares -> cfg.nomad.enable;
        message = "skyflake.storage.classes: only a cluster (skyflake.nomad) has shared classes";
      }
    ];

    boot.kernelModules = lib.optional cfg.storage.shares "fuse";
  };
}
