# What a tenant can answer with who knows that a host takes nothing from an evaluation but a derivation: no module
# system, no nixpkgs, a deployment of which every byte is chosen.
nixpkgs:
let
  pkgs = nixpkgs.legacyPackages.x86_64-linux;
  # As text, so that keys may stand twice and numbers be what they like.
  build =
    name: script:
    builtins.derivation {
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [
        "-c"
        script
      ];
    };
in
rec {
  inherit pkgs build;

  # A manifest that would be granted, changed by `change`.
  manifest =
    identity: change:
    {
      v = 1;
      system = "x86_64-linux";
      hypervisor = "qemu";
      vcpu = 1;
      mem_mib = 64;
      machine_id = identity.machineId;
      runner = "${runner}";
      toplevel = null;
      store = "disk";
      interfaces = [
        {
          id = "sky0";
          mac = builtins.head identity.macs;
          network = "default";
          queues = 1;
        }
      ];
      volumes = [
        {
          name = "root";
          size_mib = 16;
          class = null;
          mount = "/";
          read_only = false;
        }
      ];
      ready.type = "none";
      on_poweroff = "stay";
    }
    // change;

  # Not a hypervisor: it sleeps.
  runner = pkgs.writeShellScriptBin "microvm-run" "while true; do ${pkgs.busybox}/bin/sleep 60; done";

  # deployment: identity -> derivation.
  from = deployment: {
    extendModules =
      { modules }:
      let
        given = builtins.head (builtins.filter (module: module ? _module) modules);
      in
      {
        config = throw "nobody looks at this";
        pkgs.writeTextFile = _: deployment given._module.args.skyflake.identity;
      };
  };
  text = json: from (identity: build "skyflake-forged" "mkdir $out; echo '${json identity}' > $out/manifest.json");
  asks = change: text (identity: builtins.toJSON (manifest identity change));
}
