{
  description = "Stand-in for microvm.nix: the options, runner and command line that Skyflake's guests rely on";

  outputs =
    { self }:
    {
      nixosModules.microvm = ./module.nix;
    };
}
