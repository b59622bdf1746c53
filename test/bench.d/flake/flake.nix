{
  # Eight machines that cost about what NixOS costs: three seconds of evaluation each, and something to build.
  outputs =
    { self, nixpkgs }:
    {
      nixosConfigurations = builtins.listToAttrs (
        map (name: {
          inherit name;
          value = nixpkgs.lib.nixosSystem {
            system = "x86_64-linux";
            modules = [
              (
                { pkgs, ... }:
                {
                  networking.hostName = name;
                  standin.evaluation.modules = 12000;
                  environment.systemPackages = [
                    (pkgs.runCommand "manual-${name}" { } ''
                      mkdir -p $out/share
                      for page in 1 2 3 4; do
                        { echo ${name} $page; cat ${pkgs.busybox}/bin/busybox; } | gzip -9 > $out/share/$page.gz
                      done
                    '')
                  ];
                  deployment.mem = 192;
                  system.stateVersion = "25.11";
                }
              )
            ];
          };
        }) [ "m1" "m2" "m3" "m4" "m5" "m6" "m7" "m8" ]
      );
    };
}
