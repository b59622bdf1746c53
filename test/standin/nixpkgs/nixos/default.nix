# nixosSystem: a value of the real one's shape (config, options, pkgs, extendModules) over the stand-in's modules.
{ lib }:
{
  modules,
  system ? null,
  specialArgs ? { },
  ...
}:
let
  withPkgs =
    evaluated:
    evaluated
    // {
      inherit (evaluated.config._module.args) pkgs;
      inherit lib;
      extendModules = args: withPkgs (evaluated.extendModules args);
    };
in
withPkgs (
  lib.evalModules {
    inherit specialArgs;
    modules = [
      ./options.nix
      ./boot.nix
      ./services.nix
      ./network.nix
      ./evaluation.nix
      { nixpkgs = lib.optionalAttrs (system != null) { system = lib.mkDefault system; }; }
    ]
    ++ modules;
  }
)
