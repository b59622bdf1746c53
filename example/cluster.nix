# Three Skyflake hosts as MicroVMs on the bridge virbr0: `nix run .#example1`, `.#example2`, `.#example3`, one terminal each.
# Addresses 192.168.122.201 to .203, as libvirt's network `default` leaves them free.
{ instance }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  make = pkgs.callPackage ../nixos-module/scripts { };
  address = n: "192.168.122.${toString (200 + n)}";
  host = n: "example${toString n}";
  self = host instance;
  numbers = lib.range 1 3;
  hosts = map host numbers;
  osds = map (n: "${host n}:${toString (n - 1)}") numbers;
  isFirst = instance == 1;
  everybodys = "/run/example-keys";
in
{
  microvm = {
    vcpu = 2;
    mem = 6144;
    shares = [
      {
        tag = "ro-store";
        source = "/nix/store";
        mountPoint = "/nix/.ro-store";
      }
      # Its keys and tokens, in ./keys beside you.
      {
        proto = "9p";
        tag = "secrets";
        source = "keys/${self}";
        mountPoint = "/var/lib/skyflake-secrets";
        securityModel = "mapped-file";
      }
    ]
    # The first brings the others the tokens that it makes.
    ++ lib.optional isFirst {
      proto = "9p";
      tag = "keys";
      source = "keys";
      mountPoint = everybodys;
      securityModel = "mapped-file";
    };
    volumes = [
      {
        image = "${self}-persist.img";
        mountPoint = "/";
        size = 20 * 1024;
      }
      # Blank, for Ceph.
      {
        image = "${self}-osd.img";
        mountPoint = null;
        autoCreate = false;
        size = 20 * 1024;
      }
    ];
    # The keys of all three, by whichever starts first.
    preStart = ''
      mkdir -p keys
      (
        ${pkgs.util-linux}/bin/flock 9
        ${lib.getExe make.make-nomad} keys --servers "${toString hosts}"
        ${lib.getExe make.make-ceph} keys --mons "${toString hosts}" --osds "${toString osds}"
      ) 9> keys/.lock
      [ -e ${self}-osd.img ] || truncate -s 20G ${self}-osd.img
    '';
    interfaces = [
      {
        id = "eth0";
        type = "bridge";
        mac = "02:00:00:00:00:0${toString instance}";
        bridge = "virbr0";
      }
    ];
  };

  networking.hostName = self;
  networking.useNetworkd = true;
  networking.useDHCP = false;
  systemd.network.networks."10-uplink" = {
    matchConfig.MACAddress = (lib.head config.microvm.interfaces).mac;
    address = [ "${address instance}/24" ];
    gateway = [ "192.168.122.1" ];
    dns = [ "192.168.122.1" ];
  };

  # A cluster of somebody's own is started by hand, once.
  systemd.services.example-first-start = {
    description = "Skyflake: the first start of the example";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    unitConfig.ConditionPathExists = "!/var/lib/example-started";
    environment.PATH = lib.mkForce "/run/current-system/sw/bin";
    serviceConfig = {
      Type = "exec";
      Restart = "on-failure";
      RestartSec = 10;
      ExecStart = lib.concatStringsSep " " (
        [
          "${pkgs.runtimeShell} ${./first-start.sh}"
          config.skyflake.secrets
          config.skyflake.storage.shared
        ]
        ++ lib.optionals isFirst ([ "test" ] ++ map (name: "${everybodys}/${name}") (lib.remove self hosts))
      );
    };
  };

  # For the console of an example only.
  users.users.root.password = "";
  system.stateVersion = "26.05";
  nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "nomad";

  skyflake = {
    enable = true;
    nodes = lib.listToAttrs (
      map (n: lib.nameValuePair (host n) { address = address n; }) numbers
    );
    nomad = {
      enable = true;
      vcpuMhz = 500;
    };
    ceph = {
      enable = true;
      fsid = "433a2193-4f8a-47a0-95d2-209d7ca2cca5";
      osds = lib.listToAttrs (
        map (
          n:
          lib.nameValuePair (toString (n - 1)) {
            host = host n;
            device = "/dev/vdb";
          }
        ) numbers
      );
      osdMemory = 1024;
    };
    storage = {
      id = "e8a3c0d1f2b44c5d8e9fa0b1c2d3e4f5";
      defaultClass = "ceph";
      classes = {
        local.kind = "local";
        ceph = {
          kind = "fenced";
          pool = "skyflake";
        };
      };
    };
    cells.mem = 2048;
    reserve = {
      mem = 512;
      nomadMem = 512;
      cephMem = 2048;
      buildMem = 512;
    };
    users.test = {
      uid = 3001;
      sshKeys = [
        # Put your SSH public key here.
      ];
    };
  };
}
