# What a tenant can answer with who knows that a host takes nothing from an evaluation but a derivation: no module
# system, no nixpkgs, a deployment of which every byte is chosen.
nixpkgs:
let
  pkgs = nixpkgs.legacyPackages.x86_64-linux;
  # As text, so that keys may stand twice and numbers be what they like.
  make =
    name: script: env:
    builtins.derivation (
      {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [
          "-c"
          script
        ];
      }
      // env
    );
  build = name: script: make name script { };
in
rec {
  inherit pkgs make build;

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
      interfaces = [ ];
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

  interface = identity: change: {
    id = "sky0";
    mac = builtins.head identity.macs;
    network = "default";
    queues = 1;
  } // change;

  # A hypervisor with nothing in it: it answers, and that is all a host waits for.
  runner = pkgs.writeShellScriptBin "microvm-run" ''
    exec ${pkgs.qemu}/bin/qemu-system-x86_64 -machine none -nodefaults -nographic -qmp unix:/sky/run/qmp.sock,server=on,wait=off
  '';

  # What shells, terminals, nft, JSON, paths and people may take for more than text.
  evil = builtins.fromJSON ''"x\n\r\t\u001b[2J\u001b]0;pwned\u0007\"'$(touch pwned)`touch pwned`;''${PATH}%s|&<>../../etc"'';

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
  text = json: from (identity: make "skyflake-forged" ''mkdir $out; echo "$json" > $out/manifest.json'' { json = json identity; });
  asks = change: text (identity: builtins.toJSON (manifest identity change));
  asksFor = change: text (identity: builtins.toJSON (manifest identity (change identity)));
}
