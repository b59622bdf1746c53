{
  # As many machines as machines.nix has attributes: { www = { text = "..."; deployment = { ... }; }; }.
  # Each serves /var/lib/site: index.html with its text, and "starts", a line for each of its starts.
  outputs =
    { self, nixpkgs }:
    {
      nixosConfigurations = builtins.mapAttrs (
        name: machine:
        nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            (
              { pkgs, ... }:
              {
                networking.hostName = name;
                networking.firewall.allowedTCPPorts = [ 80 ];
                systemd.services.site = {
                  wantedBy = [ "multi-user.target" ];
                  script = ''
                    mkdir -p /var/lib/site
                    cat ${pkgs.writeText "text" machine.text} > /var/lib/site/index.html
                    cat /proc/sys/kernel/random/boot_id >> /var/lib/site/starts
                    ${machine.run or ""}
                    exec ${pkgs.busybox}/bin/httpd -f -p 80 -h /var/lib/site
                  '';
                };
                system.stateVersion = "25.11";
              }
            )
            {
              deployment = {
                mem = 192;
                ready.tcp = 80;
              }
              // machine.deployment or { };
            }
            (machine.module or { })
          ];
        }
      ) (import ./machines.nix nixpkgs);
    };
}
