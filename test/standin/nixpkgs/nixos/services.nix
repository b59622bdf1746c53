# systemd.services as lines of busybox init: what is wanted by multi-user.target runs, and runs again when it ends.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  strings = opt (types.listOf types.str) [ ];

  service =
    { name, ... }:
    {
      options = {
        enable = opt types.bool true;
        description = opt types.str name;
        wantedBy = strings;
        requiredBy = strings;
        wants = strings;
        requires = strings;
        after = strings;
        before = strings;
        path = opt (types.listOf types.unspecified) [ ];
        environment = opt (types.attrsOf types.unspecified) { };
        preStart = opt types.lines "";
        script = opt types.lines "";
        serviceConfig = opt (types.attrsOf types.unspecified) { };
        unitConfig = opt (types.attrsOf types.unspecified) { };
      };
    };

  wanted = lib.filterAttrs (_: s: s.enable && s.wantedBy != [ ]) config.systemd.services;
  oneshot = s: s.serviceConfig.Type or "simple" == "oneshot";
  start =
    name: s:
    pkgs.writeShellScript "unit-${name}" ''
      export PATH=${lib.concatMapStrings (p: "${p}/bin:") s.path}${pkgs.busybox}/bin
      ${lib.concatStrings (lib.mapAttrsToList (key: value: "export ${key}=${lib.escapeShellArg value}\n") s.environment)}
      ${lib.optionalString (s.serviceConfig ? StateDirectory) "mkdir -p /var/lib/${s.serviceConfig.StateDirectory}"}
      cd ${s.serviceConfig.WorkingDirectory or "/"}
      ${s.preStart}
      ${if s.script != "" then s.script else "exec ${s.serviceConfig.ExecStart}"}
    '';
  line = name: s: "::${if oneshot s then "once" else "respawn"}:${start name s}";
in
{
  options.systemd = {
    services = mkOption {
      default = { };
      type = types.attrsOf (types.submodule service);
    };
    sockets = opt (types.attrsOf types.attrs) { };
    timers = opt (types.attrsOf types.attrs) { };
    tmpfiles.rules = strings;
    generators = opt types.attrs { };
    tpm2.enable = opt types.bool true;
  };

  config.environment.etc = {
    "inittab".text = lib.concatLines (
      [
        "::sysinit:${pkgs.busybox}/bin/sh /etc/rc.network"
        "::respawn:${pkgs.busybox}/bin/acpid -d -c /etc/acpi -l /dev/null -p /run/acpid.pid"
      ]
      ++ lib.mapAttrsToList line wanted
      ++ [
        "::once:${pkgs.busybox}/bin/sh -c 'echo \"<<< ${config.networking.hostName} is up >>>\" > /dev/console'"
        "::shutdown:${pkgs.busybox}/bin/sh /etc/rc.shutdown"
      ]
    );
    "acpi/PWRF/00000080".source = pkgs.writeShellScript "power-button" "exec ${pkgs.busybox}/bin/poweroff";
    "rc.shutdown".text = ''
      echo "<<< shutting down >>>" > /dev/console
      kill -TERM -1
      sleep 0.5
      kill -KILL -1
      ${lib.concatMapStrings (fs: ''
        umount '${fs.mountPoint}' 2>/dev/null || umount -l '${fs.mountPoint}' 2>/dev/null
      '') (lib.filter (fs: !fs.neededForBoot && fs.mountPoint != "/") (lib.attrValues config.fileSystems))}
      mount -o remount,ro / 2>/dev/null
      sync
    '';
    "passwd".text = ''
      root:x:0:0:root:/root:/bin/sh
      nobody:x:65534:65534:nobody:/:/bin/false
    '';
    "group".text = ''
      root:x:0:
      nogroup:x:65534:
    '';
    "os-release".text = ''
      ID=nixos
      NAME="NixOS stand-in"
      VERSION_ID="${lib.version}"
    '';
  };
}
