# Kernel, initrd and toplevel: what NixOS boots, by a shell script each.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  fileSystems = lib.attrValues config.fileSystems;
  depth = fs: lib.length (lib.filter (part: builtins.isString part && part != "") (builtins.split "/" fs.mountPoint));
  inOrder = lib.sort (a: b: depth a < depth b) fileSystems;
  early = fs: fs.neededForBoot || fs.mountPoint == "/";
  mountOptions =
    fs: lib.concatStringsSep "," (lib.filter (o: o != "defaults" && !lib.hasPrefix "x-" o) fs.options ++ [ "rw" ]);
  mount = root: fs: ''
    mkdir -p '${root}${fs.mountPoint}'
    mount -t ${fs.fsType} -o '${mountOptions fs}' '${toString fs.device}' '${root}${fs.mountPoint}' ||
      echo "cannot mount ${toString fs.device} at ${fs.mountPoint}"
  '';

  device = toString (config.fileSystems."/".device or "/");
  waitFor = if lib.hasPrefix "/" device then device else "/"; # tmpfs has none

  stage1 = pkgs.writeScript "stage-1-init.sh" ''
    #!/bin/sh
    export PATH=/bin
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    echo "<<< stage 1 >>>"
    while read -r module; do insmod "/modules/$module" 2>/dev/null; done < /modules/order
    tries=0
    while [ ! -e ${waitFor} ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    mkdir -p /root
    ${lib.concatMapStrings (mount "/root") (lib.filter early inOrder)}
    for word in $(cat /proc/cmdline); do
      case $word in init=*) init=''${word#init=} ;; esac
    done
    mkdir -p /root/proc /root/sys /root/dev
    mount --move /proc /root/proc
    mount --move /sys /root/sys
    mount --move /dev /root/dev
    exec switch_root /root "$init"
  '';

  initrd = pkgs.runCommand "initrd-${config.networking.hostName}" { } ''
    mkdir -p root/bin root/proc root/sys root/dev root/tmp $out
    cp ${pkgs.busybox}/bin/busybox root/bin/busybox
    for applet in $(busybox --list); do [ $applet = busybox ] || ln -s busybox root/bin/$applet; done
    cp -r ${config.boot.kernelPackages.kernel}/modules root/modules
    cp ${stage1} root/init
    (cd root && find . | sort | cpio -o -H newc) | gzip -1 > $out/initrd
  '';

  etcFile =
    name: file:
    let
      source = if file.source != null then file.source else pkgs.writeText "etc-${baseNameOf name}" file.text;
    in
    ''
      mkdir -p "$(dirname "$out/${name}")"
      ln -s ${source} "$out/${name}"
    '';
  etc = pkgs.runCommand "etc" { } ''
    mkdir $out
    ${lib.concatStrings (lib.mapAttrsToList etcFile config.environment.etc)}
  '';

  stage2 = pkgs.writeShellScript "stage-2-init.sh" ''
    export PATH=${pkgs.busybox}/bin
    echo "<<< stage 2 >>>"
    mkdir -p /run /tmp /var/log /var/lib /etc /bin /root
    mount -t tmpfs -o mode=0755 tmpfs /run
    mount -t tmpfs -o mode=1777 tmpfs /tmp
    mkdir -p /dev/pts
    mount -t devpts devpts /dev/pts
    ln -sfn @toplevel@ /run/current-system
    ln -sfn ${pkgs.runtimeShell} /bin/sh
    (cd ${etc} && find . -type d) | while read -r d; do mkdir -p "/etc/$d"; done
    (cd ${etc} && find . -type l) | while read -r f; do ln -sfn "$(readlink "${etc}/$f")" "/etc/$f"; done
    hostname ${config.networking.hostName}
    ifconfig lo up
    ${lib.concatMapStrings (mount "") (lib.filter (fs: !early fs) inOrder)}
    exec ${pkgs.busybox}/bin/init
  '';

  failed = lib.filter (a: !a.assertion) config.assertions;
  toplevel =
    pkgs.runCommand "nixos-system-${config.networking.hostName}-${lib.version}" { } ''
      mkdir $out
      sed "s|@toplevel@|$out|" ${stage2} > $out/init
      chmod +x $out/init
      ln -s ${etc} $out/etc
      ln -s ${config.boot.kernelPackages.kernel}/bzImage $out/kernel
      ln -s ${initrd}/initrd $out/initrd
      echo '${toString config.boot.kernelParams}' > $out/kernel-params
      echo ${pkgs.stdenv.hostPlatform.system} > $out/system
      mkdir $out/sw
      ln -s ${pkgs.busybox}/bin $out/sw/bin
      : ${toString config.environment.systemPackages}${
        lib.optionalString (config.standin.evaluation.modules > 0) " ${config.standin.evaluation.result}"
      }
    '';
in
{
  options.systemd.mounts = mkOption {
    type = types.listOf types.attrs;
    default = [ ];
  };

  config = {
    _module.args.pkgs =
      if config.nixpkgs.hostPlatform.system == "x86_64-linux" then
        import ../pkgs {
          inherit lib;
          inherit (config.nixpkgs.hostPlatform) system;
        }
      else
        throw "the stand-in has no packages for ${config.nixpkgs.hostPlatform.system}";
    boot.kernelPackages = lib.mkDefault pkgs.linuxPackages;
    system.build = {
      initialRamdisk = initrd;
      toplevel = lib.foldl' (acc: message: lib.warn message acc) (
        if failed == [ ] then
          toplevel
        else
          throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (a: "- ${a.message}") failed}"
      ) config.warnings;
    };
  };
}
