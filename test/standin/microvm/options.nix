# microvm.* as microvm.nix declares it, for the options that a QEMU guest of Skyflake's uses.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  required = type: mkOption { inherit type; };
  cfg = config.microvm;
  inherit (config.networking) hostName;
  toplevel = config.system.build.toplevel;
  hash = builtins.hashString "sha256" "microvm.nix:${hostName}";
  part = at: n: builtins.substring at n hash;
in
{
  options.microvm = {
    guest.enable = opt types.bool true;
    optimize.enable = opt types.bool true;
    cpu = opt (types.nullOr types.str) null;
    hypervisor = opt (types.enum [
      "qemu"
      "cloud-hypervisor"
      "firecracker"
      "crosvm"
      "kvmtool"
      "stratovirt"
      "alioth"
      "vfkit"
    ]) "qemu";
    preStart = opt types.lines "";
    extraArgsScript = opt (types.nullOr types.str) null;
    socket = opt (types.nullOr types.str) "${hostName}.sock";
    user = opt (types.nullOr types.str) null;
    kernel = opt types.package config.boot.kernelPackages.kernel;
    initrdPath = opt types.path "${config.system.build.initialRamdisk}/${config.system.boot.loader.initrdFile}";
    kernelParams = opt (types.listOf types.str) [ ];
    vcpu = opt types.ints.positive 1;
    mem = opt types.ints.positive 512;
    machineId = opt (types.nullOr types.str) "${part 0 8}-${part 8 4}-${part 12 4}-${part 16 4}-${part 20 12}";
    volumes = opt (types.listOf (
      types.submodule {
        options = {
          image = required types.str;
          serial = opt (types.nullOr types.str) null;
          direct = opt types.bool false;
          readOnly = opt types.bool false;
          label = opt (types.nullOr types.str) null;
          mountPoint = required (types.nullOr types.path);
          size = required types.int;
          autoCreate = opt types.bool true;
          fsType = opt types.str "ext4";
        };
      }
    )) [ ];
    interfaces = opt (types.listOf (
      types.submodule {
        options = {
          type = required (types.enum [ "user" "tap" "macvtap" "bridge" ]);
          id = required types.str;
          mac = required types.str;
          bridge = opt (types.nullOr types.str) null;
          tap.vhost = opt types.bool false;
        };
      }
    )) [ ];
    shares = opt (types.listOf (
      types.submodule (
        { config, ... }:
        {
          options = {
            tag = required types.str;
            socket = opt (types.nullOr types.str) (
              if config.proto == "virtiofs" then "${hostName}-virtiofs-${config.tag}.sock" else null
            );
            source = required types.nonEmptyStr;
            mountPoint = required types.path;
            proto = opt (types.enum [ "9p" "virtiofs" ]) "9p";
            readOnly = opt types.bool false;
            cache = opt (types.enum [ "auto" "always" "metadata" "never" ]) "auto";
          };
        }
      )
    )) [ ];
    storeOnDisk = opt types.bool (!lib.any (share: share.source == "/nix/store") cfg.shares);
    writableStoreOverlay = opt (types.nullOr types.str) null;
    systemSymlink = opt types.bool (!cfg.storeOnDisk);
    prettyProcnames = opt types.bool true;
    vmHostPackages = opt types.pkgs pkgs;
    qemu = {
      machine = required types.str;
      machineOpts = opt (types.nullOr (types.attrsOf types.str)) null;
      extraArgs = opt (types.listOf types.str) [ ];
      serialConsole = opt types.bool true;
      package = opt types.package (if cfg.cpu == null then cfg.vmHostPackages.qemu_kvm else cfg.vmHostPackages.qemu);
    };
    runner = opt (types.attrsOf types.package) { };
    declaredRunner = opt types.package cfg.runner.${cfg.hypervisor};
    binScripts = opt (types.attrsOf types.lines) { };
  };

  config.microvm = {
    qemu.machine = lib.mkDefault "microvm";
    kernelParams = config.boot.kernelParams ++ [
      "init=${if cfg.storeOnDisk then builtins.unsafeDiscardStringContext toplevel else toplevel}/init"
    ];
  };
}
