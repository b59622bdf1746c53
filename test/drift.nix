# What test/drift looks at: deployments of a few machines, made with the nixpkgs and microvm.nix at two paths.
{ nixpkgs, microvm }:
let
  outputs = path: (import (path + "/flake.nix")).outputs;
  pkgsFlake = outputs nixpkgs { self = pkgsFlake // { outPath = toString nixpkgs; }; };
  microvmFlake = outputs microvm (
    builtins.intersectAttrs (builtins.functionArgs (outputs microvm)) {
      self = microvmFlake // {
        outPath = toString microvm;
      };
      nixpkgs = pkgsFlake;
      spectrum.outPath = "/nonexistent";
    }
  );
  guest = import ../nixos-module/guest;
  flakeOf =
    file:
    let
      flake = (import file).outputs {
        self = flake;
        nixpkgs = pkgsFlake;
      };
    in
    flake;
  identity = {
    index = 7;
    machineId = "8c5f9a3e-7d41-4b1e-9c55-0123456789ab";
    macs = map (k: "02:5f:0${toString k}:00:00:07") [ 0 1 2 3 ];
    rootMib = 2048;
  };
  deploy =
    customization: file: machine:
    (guest.deploy {
      inherit machine identity customization;
      flake = flakeOf file;
      microvm = microvmFlake;
    }).drvPath;
  emulated = deploy ../nixos-module/guest/tcg.nix;
  example = ./example/flake.nix;
in
{
  www = emulated example "www";
  db = emulated example "db";
  big = emulated example "big";
  plain = emulated example "plain";
  kvm = deploy null example "www";
  kvm-big = deploy null example "big";
  disk = emulated ./golden/guest/flake.nix "disk";
  host-platform = emulated ./golden/guest/flake.nix "host-platform";
  moved = emulated ./golden/guest/flake.nix "moved";
  original = emulated ./golden/guest/original.nix "skytest1";
}
