# The host itself: whether it is one, its name, the tools.
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
in
{
  options.skyflake = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether this server is a Skyflake host: `git push` to it boots virtual machines.";
    };

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      example = lib.literalExpression "inputs.skyflake.packages.x86_64-linux.default";
      description = "The tools.";
    };

    host = mkOption {
      type = sky.types.name;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      example = "n1";
      description = "Name of this host, as tenants read it in `status`.";
    };

    prefix = mkOption {
      type = sky.types.prefix;
      default = "sky";
      example = "sf";
      description = ''
        What the names of the network links, nftables tables and cgroups begin with. Not to be changed while machines run.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.security.allowUserNamespaces;
        message = "skyflake: tenants' cells need user namespaces (security.allowUserNamespaces)";
      }
      {
        assertion = pkgs.stdenv.hostPlatform.isLinux && pkgs.stdenv.hostPlatform.is64bit;
        message = "skyflake: a host needs a 64-bit Linux";
      }
    ];

    # Supervisors outlive an update, and sudo's rules name the tools: both by a path that stays.
    environment.systemPackages = [ cfg.package ];
    boot.kernelModules = [
      "tun"
      "bridge"
    ];
  };
}
