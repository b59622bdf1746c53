# What an operator runs away from the hosts: `nix run .#make-ceph`, `nix run .#make-nomad`.
{
  writeShellApplication,
  ceph,
  coreutils,
  openssl,
}:
let
  application =
    name: runtimeInputs:
    writeShellApplication {
      inherit name runtimeInputs;
      text = builtins.readFile (./. + "/${name}.sh");
      bashOptions = [ ];
      meta.description = "Keys of a cluster";
    };
in
{
  make-ceph = application "make-ceph" [
    ceph
    coreutils
  ];
  make-nomad = application "make-nomad" [
    coreutils
    openssl
  ];
}
