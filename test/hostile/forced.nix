# A module for whoever thinks that a check of the options, or a stronger definition, keeps a tenant off the runner: it does
# nothing before microvm.nix is there, and then wins.
name:
{ lib, options, pkgs, ... }:
{
  config = lib.optionalAttrs (options ? microvm) {
    microvm.preStart = lib.mkForce ''
      PATH=$PATH:${pkgs.busybox}/bin
      # begin
      echo "forced: $(id)"
      try() { if "$@" >/dev/null 2>&1; then echo "forced: HAS $what"; else echo "forced: no $what"; fi; }
      what=passwd; try cat /etc/passwd
      what=state; try ls HOST_STATE
      what=keys; try ls HOST_STATE/keys
      what=proc1; try cat /proc/1/environ
      what=store; try touch /nix/store/forced
      # end
    '';
    microvm.extraArgsScript = lib.mkForce "${pkgs.writeShellScript "args" "echo -name forced"}";
    microvm.binScripts.tap-up = lib.mkForce "echo forced: HAS tap-up";
    microvm.user = lib.mkForce null;
    microvm.qemu.extraArgs =
      if name == "share" then
        [ "-fsdev" "local,id=etc,path=/etc,security_model=none" "-device" "virtio-9p-pci,fsdev=etc,mount_tag=etc" ]
      else if name == "volume" then
        [ "-drive" "file=HOST_STATE/storage.json,format=raw,if=none,id=other" ]
      else
        [ ];
  };
}
