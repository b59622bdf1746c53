# Ceph on the hosts themselves: monitors, managers, metadata servers, OSDs, pools, and the filesystem that the hosts share.
# The daemons' units are nixpkgs' (services.ceph); what they need before they start is scripts/ceph-host.sh's.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  ceph = cfg.ceph;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  names = lib.attrNames cfg.nodes;
  addressOf = name: cfg.nodes.${name}.address or "unknown";
  bracketed = address: if lib.hasInfix ":" address then "[${address}]" else address;
  monAddresses =
    name:
    let
      address = bracketed (addressOf name);
    in
    "[v2:${address}:3300,v1:${address}:6789]";
  has = lib.elem cfg.host;
  isMon = has ceph.mons;
  isMgr = has ceph.mgrs;
  isMds = ceph.filesystem.enable && has ceph.mdss;
  here = lib.filterAttrs (_: osd: osd.host == cfg.host) ceph.osds;
  ids = lib.attrNames here;
  classes = lib.filterAttrs (_: osd: osd.class != null) ceph.osds;
  fs = ceph.filesystem;

  pools =
    ceph.pools
    // lib.optionalAttrs fs.enable (
      lib.mapAttrs'
        (
          kind: _:
          lib.nameValuePair "${fs.name}.${kind}" {
            inherit (fs) size minSize class;
            application = "cephfs";
          }
        )
        {
          data = { };
          meta = { };
        }
    );

  word = lib.escapeShellArg;
  # What the first monitor's host says to the cluster, each time that it is other than before.
  plan =
    lib.concatLists (
      lib.mapAttrsToList (id: osd: [
        "class"
        id
        osd.class
      ]) classes
    )
    ++ lib.concatLists (
      lib.mapAttrsToList (name: pool: [
        "pool"
        name
        (toString pool.size)
        (toString pool.minSize)
        (if pool.class == null then "-" else pool.class)
        pool.application
      ]) pools
    )
    ++ lib.optionals fs.enable [
      "fs"
      fs.name
      "${fs.name}.meta"
      "${fs.name}.data"
    ];

  script = "${pkgs.runtimeShell} ${./scripts/ceph-host.sh}";
  unit = description: more: lib.recursiveUpdate {
    inherit description;
    wants = [ "network-online.target" ];
    requires = [ "skyflake-secrets.service" ];
    after = [
      "network-online.target"
      "skyflake-secrets.service"
      "systemd-tmpfiles-setup.service"
    ];
    environment = {
      FSID = ceph.fsid;
      HOST = cfg.host;
      SECRETS = cfg.secrets;
    };
    path = [
      ceph.package
      pkgs.coreutils
      pkgs.jq
      pkgs.util-linux
    ];
    unitConfig.StartLimitIntervalSec = 0;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      # Monitors, disks and classes come as hosts do.
      Restart = "on-failure";
      RestartMode = "direct"; # who waits for it goes on waiting
      RestartSec = 15;
      Slice = "system-ceph.slice";
    };
  } more;

  # A daemon of nixpkgs' behind what it needs.
  behind = setup: {
    requires = [ "${setup}.service" ];
    after = [ "${setup}.service" ];
    # Monitors may be long in coming.
    startLimitIntervalSec = lib.mkForce 0;
    serviceConfig.Slice = "system-ceph.slice";
  };

  osd = types.submodule {
    options = {
      host = mkOption {
        type = sky.types.name;
        example = "n1";
        description = "Host that has the device.";
      };
      device = mkOption {
        type = types.strMatching "/dev/[A-Za-z0-9._:/+-]+";
        example = "/dev/disk/by-id/nvme-SAMSUNG_MZ1L2960HCJR_S665NN0T500001";
        description = ''
          The whole device, by a name that stays. A blank one is taken when the OSD is new; one with anything else on it is
          refused.
        '';
      };
      class = option (types.nullOr (types.strMatching "[a-z][a-z0-9-]{0,30}")) null "nvme" ''
        Device class, for pools that ask for one; null: what Ceph takes it for (`hdd`, `ssd`, `nvme`).
      '';
    };
  };

  size = {
    size = option (sky.types.between 1 10) 3 2 "Copies of each object.";
    minSize = option (sky.types.between 1 10) 2 1 "Copies without which nothing is written.";
    class = option (types.nullOr (types.strMatching "[a-z][a-z0-9-]{0,30}")) null "nvme" ''
      Device class of the OSDs that it lies on; null: any.
    '';
  };
  pool = types.submodule {
    options = size // {
      application = option (types.enum [ "rbd" ]) "rbd" "rbd" "What it is for.";
    };
  };
in
{
  options.skyflake.ceph = {
    enable = option types.bool false true ''
      Whether the hosts are a Ceph cluster as well: the storage of `fenced` classes, and the filesystem that the hosts share.
    '';

    package = mkOption {
      type = types.package;
      default = pkgs.ceph;
      defaultText = lib.literalExpression "pkgs.ceph";
      example = lib.literalExpression "pkgs.ceph";
      description = "Ceph: its daemons, and the programs that the tools run for `fenced` classes.";
    };

    fsid = mkOption {
      type = types.strMatching "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
      example = "433a2193-4f8a-47a0-95d2-209d7ca2cca5";
      description = "Id of the Ceph cluster, which you make once (`uuidgen`).";
    };

    mons = mkOption {
      type = types.listOf sky.types.name;
      default = lib.take (if lib.length names >= 3 then 3 else 1) names;
      defaultText = lib.literalMD "the first three of `skyflake.nodes`, or one where there are fewer";
      example = [
        "n1"
        "n2"
        "n3"
      ];
      description = "Hosts with a monitor: 1, 3 or 5.";
    };
    mgrs = mkOption {
      type = types.listOf sky.types.name;
      default = ceph.mons;
      defaultText = lib.literalMD "those with a monitor";
      example = [
        "n1"
        "n2"
      ];
      description = "Hosts with a manager; one works, the others stand by.";
    };
    mdss = mkOption {
      type = types.listOf sky.types.name;
      default = ceph.mons;
      defaultText = lib.literalMD "those with a monitor";
      example = [
        "n1"
        "n2"
      ];
      description = "Hosts with a metadata server of the shared filesystem; one works, the others stand by.";
    };

    osds = mkOption {
      type = types.attrsOf osd;
      default = { };
      example = {
        "0" = {
          host = "n1";
          device = "/dev/disk/by-id/nvme-A";
          class = "nvme";
        };
        "1" = {
          host = "n2";
          device = "/dev/disk/by-id/nvme-B";
          class = "nvme";
        };
      };
      description = "OSDs of all hosts by their number, which stays with the device for ever.";
    };
    osdMemory = option (sky.types.between 1024 65536) 4096 8192 ''
      MiB that each OSD aims at (`osd_memory_target`); the host keeps a quarter more for it.
    '';

    publicNetworks = option (types.listOf sky.types.cidr) [ ] [ "10.0.0.0/24" ] ''
      Subnets by which Ceph is reached; none: that of the hosts' addresses, as Ceph finds it. No machine and no tenant's process
      gets there.
    '';
    clusterNetworks = option (types.listOf sky.types.cidr) [ ] [ "10.0.1.0/24" ] ''
      Subnets by which OSDs copy to each other; none: the public ones.
    '';

    pools = mkOption {
      type = types.attrsOf pool;
      default.skyflake = { };
      example.fast.class = "nvme";
      description = "Pools by name. `make-ceph --pools` must know them: the hosts' key is for these.";
    };

    filesystem = {
      enable = option types.bool true false ''
        Whether the hosts share a CephFS: mounted where `skyflake.storage.shared` says.
      '';
      name = option (types.strMatching "[a-z][a-z0-9-]{0,30}") "skyflake" "shared" "Its name, and that of its pools.";
    }
    // size;
  };

  config = lib.mkIf (cfg.enable && ceph.enable) {
    assertions = [
      {
        assertion = lib.elem (lib.length ceph.mons) [
          1
          3
          5
        ];
        message = "skyflake.ceph.mons: ${toString (lib.length ceph.mons)} monitors; use 1, 3 or 5 (an even number takes the loss of no more)";
      }
      {
        assertion = lib.all (name: cfg.nodes ? ${name}) (
          ceph.mons ++ ceph.mgrs ++ ceph.mdss ++ lib.mapAttrsToList (_: osd: osd.host) ceph.osds
        );
        message = "skyflake.ceph: monitors, managers, metadata servers and OSDs must be on hosts of skyflake.nodes";
      }
      {
        assertion = lib.all (id: builtins.match "0|[1-9][0-9]{0,4}" id != null) (lib.attrNames ceph.osds);
        message = "skyflake.ceph.osds: an OSD's name is its number";
      }
      {
        assertion = lib.allUnique (lib.mapAttrsToList (_: osd: "${osd.host} ${osd.device}") ceph.osds);
        message = "skyflake.ceph.osds: two OSDs have one device";
      }
      {
        assertion = lib.all (pool: pool.minSize <= pool.size) (lib.attrValues pools);
        message = "skyflake.ceph: a pool's minSize is more than its size";
      }
      {
        assertion = fs.enable -> cfg.storage.shared != null;
        message = "skyflake.ceph.filesystem: skyflake.storage.shared says where it is mounted";
      }
    ];

    services.ceph = {
      enable = true;
      global = {
        inherit (ceph) fsid;
        mgrModulePath = "${ceph.package.lib}/lib/ceph/mgr";
        monInitialMembers = lib.concatStringsSep ", " ceph.mons;
        monHost = lib.concatMapStringsSep ", " monAddresses ceph.mons;
        publicNetwork =
          if ceph.publicNetworks == [ ] then null else lib.concatStringsSep ", " ceph.publicNetworks;
        clusterNetwork =
          if ceph.clusterNetworks == [ ] then null else lib.concatStringsSep ", " ceph.clusterNetworks;
      };
      extraConfig = {
        "osd pool default size" = "3";
        "osd pool default min size" = "2";
        # A host whose client is cut off is heard of no more: its lease of the filesystem ends, and it is blocklisted.
        "mds session autoclose" = "60";
      }
      // lib.optionalAttrs (lib.any (lib.hasInfix ":") (map addressOf ceph.mons)) {
        "ms bind ipv6" = "true";
      };
      client.enable = true;
      mon = lib.mkIf isMon {
        enable = true;
        daemons = [ cfg.host ];
        inherit (ceph) package;
        extraConfig."mon warn on pool no redundancy" = "true";
      };
      mgr = lib.mkIf isMgr {
        enable = true;
        daemons = [ cfg.host ];
        inherit (ceph) package;
      };
      mds = lib.mkIf isMds {
        enable = true;
        daemons = [ cfg.host ];
        inherit (ceph) package;
      };
      osd = lib.mkIf (ids != [ ]) {
        enable = true;
        daemons = ids;
        inherit (ceph) package;
        extraConfig = {
          "osd memory target" = toString (ceph.osdMemory * 1048576);
          "osd crush update on start" = "true";
        };
      };
    };

    systemd.services = lib.mkMerge (
      lib.optional isMon {
        skyflake-ceph-mon =
          unit "Skyflake: this host's monitor of Ceph has a store" {
            serviceConfig.ExecStart = "${script} mon ${
              lib.concatMapStringsSep " " (name: word "${name}=${monAddresses name}") ceph.mons
            }";
          };
        "ceph-mon-${cfg.host}" = behind "skyflake-ceph-mon";
      }
      ++ map (
        type: {
          "skyflake-ceph-${type}" = unit "Skyflake: the key of this host's ${type} of Ceph" {
            serviceConfig.ExecStart = "${script} keyring ${type}";
          };
          "ceph-${type}-${cfg.host}" = behind "skyflake-ceph-${type}";
        }
      ) (lib.optional isMgr "mgr" ++ lib.optional isMds "mds")
      ++ map (id: {
        "skyflake-ceph-osd-${id}" = unit "Skyflake: OSD ${id} of Ceph has its device" {
          serviceConfig.ExecStart = "${script} osd ${id} ${here.${id}.device}";
        };
        "ceph-osd-${id}" = behind "skyflake-ceph-osd-${id}";
      }) ids
      ++ lib.optional fs.enable {
        skyflake-ceph-filesystem = unit "Skyflake: the shared filesystem can be mounted" {
          after = [
            "network-online.target"
            "skyflake-secrets.service"
            "ceph.target"
          ];
          serviceConfig.ExecStart = "${script} filesystem ${fs.name}";
        };
      }
      ++ lib.optional (lib.head ceph.mons == cfg.host) {
        skyflake-ceph-cluster =
          unit "Skyflake: Ceph's keys, pools and filesystem are as the configuration says" {
            wantedBy = [ "multi-user.target" ];
            after = [
              "network-online.target"
              "skyflake-secrets.service"
              "ceph.target"
            ];
            serviceConfig.ExecStart = "${script} cluster ${lib.concatMapStringsSep " " word plan}";
          };
      }
    );

    # nixpkgs' units wait for a keyring, which these bring.
    systemd.slices.system-ceph.sliceConfig = {
      MemoryMin = "${toString cfg.reserve.cephMem}M";
      CPUWeight = 800;
      IOWeight = 1000;
    };

    fileSystems = lib.mkIf fs.enable {
      ${cfg.storage.shared} = {
        device = "${lib.concatMapStringsSep "," (name: bracketed (addressOf name)) ceph.mons}:/";
        fsType = "ceph";
        options = [
          "name=skyflake-fs"
          "secretfile=${cfg.secrets}/ceph.client.skyflake-fs.secret"
          "fs=${fs.name}"
          "noatime"
          "nodev"
          "nosuid"
          "_netdev"
          "nofail" # the host comes up without it, what needs it does not
          "x-systemd.mount-timeout=5min"
          "x-systemd.requires=skyflake-ceph-filesystem.service"
        ];
      };
    };
    system.fsPackages = lib.mkIf fs.enable [ ceph.package ];
    boot.kernelModules = lib.mkIf fs.enable [ "ceph" ];

    environment.systemPackages = [ ceph.package ];

    skyflake = {
      storage.shared = lib.mkIf fs.enable (lib.mkDefault "/srv/skyflake");
      clusterNetworks = ceph.publicNetworks ++ ceph.clusterNetworks;
      reserve.cephMem = lib.mkDefault (
        lib.length ids * ceph.osdMemory * 5 / 4
        + (if isMon then 1024 else 0)
        + (if isMgr then 512 else 0)
        + (if isMds then 4096 else 0)
      );
      firewall.hosts.tcp = [
        3300
        6789
        "6800-7568"
      ];
      neededSecrets =
        let
          needed = name: {
            when = "needed";
            owner = "root";
            path = "${cfg.secrets}/${name}";
          };
        in
        map needed (
          lib.optionals isMon [ "ceph.keyring" ]
          ++ lib.optionals (isMon || ids != [ ]) [ "ceph.client.admin.keyring" ]
          ++ lib.optional isMgr "ceph.mgr.${cfg.host}.keyring"
          ++ lib.optional isMds "ceph.mds.${cfg.host}.keyring"
          ++ map (id: "ceph.osd.${id}.keyring") ids
          ++ lib.optional fs.enable "ceph.client.skyflake-fs.secret"
        );
    };
  };
}
