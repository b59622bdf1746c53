# The tools, built by CMake with nixpkgs' libraries.
{
  lib,
  stdenv,
  cmake,
  ninja,
  pkg-config,
  cli11,
  curl,
  fmt,
  libcap,
  libgit2,
  libnl,
  libsodium,
  nettle,
  nftables,
  nlohmann_json,
  simdjson,
  zstd,
}:
stdenv.mkDerivation {
  pname = "skyflake";
  # The one version is CMake's.
  version = builtins.head (
    builtins.match ".*project\\(skyflake VERSION ([0-9.]+).*" (builtins.readFile ./CMakeLists.txt)
  );

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./CMakeLists.txt
      ./cmake
      ./lib
      ./tools
      ./hooks
      ./libexec
      ./nomad
      ./doc/alarms/alerts.yml
      ./doc/completion
      ./doc/man
      ./nixos-module/guest
    ];
  };

  # Run to install what they make; a builder has no /bin/bash.
  postPatch = "patchShebangs doc";

  nativeBuildInputs = [
    cmake
    ninja
    pkg-config
  ];
  buildInputs = [
    cli11
    curl
    fmt
    libcap
    libgit2
    libnl
    libsodium
    nettle
    nftables
    nlohmann_json
    simdjson
    zstd
  ];
  cmakeFlags = [ (lib.cmakeBool "BUILD_TESTING" false) ];

  meta = {
    description = "Hyperconverged infrastructure for NixOS: git push boots a microVM";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "sky-shell";
  };
}
