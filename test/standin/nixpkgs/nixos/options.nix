# Options of NixOS that tenants' flakes and microvm.nix set. Those that nothing here reads are accepted and ignored.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  flag = default: opt types.bool default;
  strings = opt (types.listOf types.str) [ ];
  anything = opt (types.attrsOf types.unspecified) { };
in
{
  options = {
    assertions = opt (types.listOf types.attrs) [ ];
    warnings = strings;

    nixpkgs = {
      system = mkOption { type = types.str; };
      hostPlatform = mkOption {
        type = types.either types.str types.attrs;
        default = config.nixpkgs.system;
        apply = platform: if builtins.isString platform then { system = platform; } else platform;
      };
      config = anything;
      overlays = opt (types.listOf types.raw) [ ];
    };

    system = {
      stateVersion = opt types.str lib.trivial.release;
      build = opt (types.lazyAttrsOf types.unspecified) { };
      switch.enable = flag true;
      boot.loader = {
        kernelFile = opt types.str "bzImage";
        initrdFile = opt types.str "initrd";
      };
    };

    boot = {
      kernelPackages = mkOption { type = types.raw; };
      kernelParams = strings;
      kernelModules = strings;
      blacklistedKernelModules = strings;
      loader.grub.enable = flag true;
      swraid.enable = flag false;
      initrd = {
        kernelModules = strings;
        availableKernelModules = strings;
        supportedFilesystems = opt types.unspecified { };
        systemd = {
          enable = flag false;
          tpm2.enable = flag true;
        };
      };
    };

    fileSystems = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              mountPoint = opt types.str name;
              device = opt (types.nullOr types.str) null;
              fsType = opt types.str "auto";
              label = opt (types.nullOr types.str) null;
              options = mkOption {
                type = types.listOf types.str;
                default = [ "defaults" ];
              };
              neededForBoot = flag false;
              autoFormat = flag false;
              autoResize = flag false;
              noCheck = flag false;
            };
          }
        )
      );
    };
    swapDevices = opt (types.listOf types.attrs) [ ];

    environment = {
      etc = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              text = opt (types.nullOr types.lines) null;
              source = opt (types.nullOr types.path) null;
              mode = opt types.str "symlink";
            };
          }
        );
      };
      systemPackages = opt (types.listOf types.package) [ ];
      variables = anything;
    };

    users = {
      mutableUsers = flag true;
      users = opt (types.attrsOf types.attrs) { };
      groups = opt (types.attrsOf types.attrs) { };
    };
    security.sudo.wheelNeedsPassword = flag true;
    documentation.enable = flag true;
    time.timeZone = opt (types.nullOr types.str) null;
    i18n.defaultLocale = opt types.str "en_US.UTF-8";
    nix = {
      enable = flag true;
      optimise.automatic = flag false;
      settings = anything;
    };
    programs = anything;

    services = {
      openssh = {
        enable = flag false;
        permitRootLogin = opt (types.nullOr types.str) null;
        settings = anything;
        ports = opt (types.listOf types.port) [ 22 ];
        openFirewall = flag true;
      };
      getty.autologinUser = opt (types.nullOr types.str) null;
      resolved.enable = flag false;
    };
  };
}
