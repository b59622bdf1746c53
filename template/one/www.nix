{
  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      locations."/".return = "200 'hello from www\\n'";
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  services.openssh.enable = true;
  users.users.root.openssh.authorizedKeys.keys = [
    # "ssh-ed25519 AAAA... you@laptop"
  ];

  system.stateVersion = "26.05";
}
