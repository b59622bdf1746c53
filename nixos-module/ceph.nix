# Ceph on the hosts themselves.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
in
{
  options.skyflake.ceph = {
    package = mkOption {
      type = types.package;
      default = pkgs.ceph;
      defaultText = lib.literalExpression "pkgs.ceph";
      example = lib.literalExpression "pkgs.ceph";
      description = "Ceph: its daemons, and the programs that the tools run for `fenced` classes.";
    };
  };
}
