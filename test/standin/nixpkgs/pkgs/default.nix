# The stand-in's package set: what test/standin/make took from Debian, and nixpkgs' trivial builders over busybox.
{ lib, system }:
let
  blob = name: builtins.path { path = ../blobs + "/${name}"; inherit name; };

  # As nixpkgs' derivations: passthru and meta are attributes of the value, not of the build.
  mkDerivation =
    {
      name,
      script,
      env ? { },
      passthru ? { },
      meta ? { },
    }:
    let
      drv = builtins.derivation (
        removeAttrs env [
          "passthru"
          "meta"
        ]
        // {
          inherit name system;
          buildCommand = script;
          passAsFile = [ "buildCommand" ] ++ env.passAsFile or [ ];
          builder = "${blob "busybox"}/busybox";
          args = [
            "sh"
            "-euc"
            ''
              export HOME=/homeless-shelter TMPDIR="$NIX_BUILD_TOP" PATH="$NIX_BUILD_TOP/.bin"
              "$builder" mkdir "$PATH"
              "$builder" --install -s "$PATH"
              . "$buildCommandPath"
            ''
          ];
        }
      );
    in
    drv
    // passthru
    // {
      inherit passthru;
      meta = meta // env.meta or { };
      out = drv;
    };

  pkgs = rec {
    inherit lib;
    buildPackages = pkgs;
    stdenv = {
      hostPlatform = {
        inherit system;
        isLinux = true;
        isDarwin = false;
        linux-kernel.target = "bzImage";
        uname = {
          system = "Linux";
          processor = "x86_64";
        };
      };
      buildPlatform = stdenv.hostPlatform;
      targetPlatform = stdenv.hostPlatform;
    };

    runCommand =
      name: env: script:
      mkDerivation {
        inherit name script env;
        passthru = env.passthru or { };
      };
    runCommandLocal = runCommand;

    writeTextFile =
      {
        name,
        text,
        executable ? false,
        destination ? "",
        meta ? { },
      }:
      mkDerivation {
        inherit name meta;
        env = {
          inherit text;
          passAsFile = [ "text" ];
        };
        script = ''
          mkdir -p "$(dirname "$out${destination}")"
          cat "$textPath" > "$out${destination}"
          ${lib.optionalString executable ''chmod +x "$out${destination}"''}
        '';
      };
    writeText = name: text: writeTextFile { inherit name text; };
    writeTextDir =
      path: text:
      writeTextFile {
        name = baseNameOf path;
        inherit text;
        destination = "/${path}";
      };
    writeScript =
      name: text:
      writeTextFile {
        inherit name text;
        executable = true;
      };
    writeShellScript = name: text: writeScript name "#!${runtimeShell}\n${text}";
    writeShellScriptBin =
      name: text:
      writeTextFile {
        inherit name;
        text = "#!${runtimeShell}\n${text}";
        executable = true;
        destination = "/bin/${name}";
        meta.mainProgram = name;
      };

    busybox = mkDerivation {
      name = "busybox-${lib.version}";
      script = ''
        mkdir -p $out/bin
        cp ${blob "busybox"}/busybox $out/bin/busybox
        $out/bin/busybox --list | while read -r applet; do
          [ "$applet" = busybox ] || ln -s busybox "$out/bin/$applet"
        done
      '';
      meta.mainProgram = "busybox";
    };
    coreutils = busybox;
    bash = busybox;
    runtimeShell = "${busybox}/bin/sh";

    linux = mkDerivation {
      name = "linux-${lib.version}";
      script = ''
        mkdir $out
        cp ${blob "linux"}/bzImage $out/bzImage
        cp -r ${blob "linux"}/modules $out/modules
      '';
      passthru = {
        target = "bzImage";
        version = builtins.replaceStrings [ "\n" ] [ "" ] (builtins.readFile ../blobs/linux/version);
      };
    };
    linuxPackages.kernel = linux;

    # A binary of Debian's with its own ld.so and libraries, since nothing of Debian is there where it runs.
    fromDebian =
      package: program: flags: env:
      mkDerivation {
        name = "${package}-${lib.version}";
        script = ''
          mkdir -p $out/bin
          cp -r ${blob package}/. $out/libexec
          cat > $out/bin/${program} <<EOF
          #!${runtimeShell}
          ${env}
          exec $out/libexec/ld.so --library-path $out/libexec/lib $out/libexec/${program} ${flags} "\$@"
          EOF
          chmod +x $out/bin/${program}
        '';
        passthru.configureFlags = [ "--enable-seccomp" ];
        meta.mainProgram = program;
      };
    erofs-utils = fromDebian "erofs-utils" "mkfs.erofs" "" "";
    qemu =
      fromDebian "qemu" "qemu-system-x86_64" "-L $out/libexec/share"
        "export QEMU_MODULE_DIR=$out/libexec/modules";
    qemu_kvm = qemu;
  };
in
pkgs
