# Cells: where tenants' flakes are evaluated and built, with a nix and a /nix of their own.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.skyflake;
  sky = import ./lib.nix { inherit lib; };
  inherit (lib) mkOption types;
  inherit (sky) option;

  # Everything static: a cell's /nix/store is its own, so nothing here may refer to the host's.
  root = pkgs.runCommand "skyflake-cell" { preferLocalBuild = true; } ''
    mkdir -p $out/bin $out/etc/ssl/certs
    cp -L ${cfg.cells.nix}/bin/nix ${cfg.cells.shell}/bin/busybox $out/bin/
    ln -s busybox $out/bin/sh
    cp -L ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt $out/etc/ssl/certs/ca-certificates.crt
    for program in $out/bin/nix $out/bin/busybox; do
      if LC_ALL=C grep -aq '/nix/store/[0-9a-z]\{32\}-[^/]*/lib[^/]*/ld-' $program; then
        echo "$program is linked dynamically: a cell has no /nix/store of the host's" >&2
        exit 1
      fi
    done
  '';
in
{
  options.skyflake.cells = {
    nix = mkOption {
      type = types.package;
      default = pkgs.nixStatic;
      defaultText = lib.literalExpression "pkgs.nixStatic";
      example = lib.literalExpression "pkgs.nixStatic";
      description = "The nix that evaluates and builds, linked statically.";
    };

    shell = mkOption {
      type = types.package;
      default = pkgs.busybox-sandbox-shell;
      defaultText = lib.literalExpression "pkgs.busybox-sandbox-shell";
      example = lib.literalExpression "pkgs.pkgsStatic.busybox";
      description = "The /bin/sh of cells and of the builds in them, linked statically.";
    };

    root = mkOption {
      type = types.package;
      default = root;
      defaultText = lib.literalMD "a tree of `nix`, `shell` and CA certificates";
      internal = true;
      description = "What a cell sees of the host.";
    };

    inputs = mkOption {
      type = types.attrsOf types.path;
      default = { };
      example = lib.literalExpression "{ inherit (inputs) nixpkgs microvm; }";
      description = ''
        Pinned flake inputs, by name: what a tenant's flake does not lock comes from here, and the push says so. `microvm`,
        a tree of microvm.nix, must be among them; the flake of Skyflake brings it and `nixpkgs`.
      '';
    };

    guest = mkOption {
      type = types.path;
      default = ./guest;
      defaultText = lib.literalExpression "./guest";
      example = lib.literalExpression "./guest";
      description = "The tree of the module that makes a machine out of a tenant's NixOS configuration.";
    };

    substituters = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ "https://cache.nixos.org" ];
      example = [ "https://cache.example.org" ];
      description = "Binary caches that cells download from.";
    };

    trustedKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
      example = [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
      description = "Public keys of those caches.";
    };

    egress =
      option (types.listOf sky.types.cidr)
        [
          "0.0.0.0/0"
          "::/0"
        ]
        [ "192.0.2.0/24" ]
        ''
          Where the processes of tenants and machines may send packets. This host, its own addresses and the machines'
          networks are never reachable, whatever stands here.
        '';

    jobs =
      option (sky.types.between 0 4096) 0 4
        "Builds at a time in one cell; 0: as many as there are cores.";
    evalTimeout = option sky.types.seconds 600 1200 "Seconds that the evaluation of one machine may take.";
    buildTimeout = option sky.types.seconds 7200 14400 "Seconds that the build of one machine may take.";
    mem = option (sky.types.mibAtLeast 256) 8192 16384 "Memory of a tenant's cell, in MiB.";
    pids = option (sky.types.between 64 4194304) 4096 8192 "Processes of a tenant at a time.";
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.cells.inputs ? microvm;
        message = "skyflake.cells.inputs: no 'microvm' (the flake's module sets it; or give the path of a microvm.nix tree)";
      }
      {
        assertion = lib.all sky.types.name.check (lib.attrNames cfg.cells.inputs);
        message = "skyflake.cells.inputs: a name must be [a-z][a-z0-9-]{0,39}";
      }
    ];
  };
}
