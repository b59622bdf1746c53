{
  # Eight machines that cost about what NixOS costs: three seconds of evaluation each, and something to build. Fifty tiny
  # ones, and one that is too big for any host.
  outputs =
    { self, nixpkgs }:
    {
      nixosConfigurations = builtins.listToAttrs (
        map (name: let m = builtins.match "m[0-9]" name != null; in {
          inherit name;
          value = nixpkgs.lib.nixosSystem {
            system = "x86_64-linux";
            modules = [
              (
                { pkgs, ... }:
                {
                  networking.hostName = name;
                  standin.evaluation.modules = if m then 12000 else 100;
                  environment.systemPackages = nixpkgs.lib.optionals m [
                    (pkgs.runCommand "manual-${name}" { } ''
                      mkdir -p $out/share
                      for page in 1 2 3 4; do
                        { echo ${name} $page; cat ${pkgs.busybox}/bin/busybox; } | gzip -9 > $out/share/$page.gz
                      done
                    '')
                  ];
                  deployment.mem = if m then 192 else if name == "big" then 6144 else 96;
                  system.stateVersion = "25.11";
                }
              )
            ];
          };
        }) ([ "big" ] ++ builtins.genList (n: "m${toString (n + 1)}") 8 ++ builtins.genList (n: "t${toString (n + 1)}") 50)
      );
    };
}
