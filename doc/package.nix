# The handbook as HTML, searchable.
{
  lib,
  runCommand,
  groff,
  mkdocs,
  skyflake,
}:
runCommand "skyflake-documentation"
  {
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ./.
        ../mkdocs.yml
      ];
    };
    nativeBuildInputs = [
      groff
      mkdocs
    ];
    meta.description = "The handbook of Skyflake";
  }
  ''
    # What runs the scripts is a builder without /usr/bin/env and the like.
    cp -r "$src" source
    chmod -R +w source
    patchShebangs source/doc
    source/doc/build ${skyflake}/bin "$out"
  ''
