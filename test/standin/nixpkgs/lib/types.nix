# Option types: check says whether one definition fits, merge makes one value of several definitions.
{
  lib,
  evalModules,
  mergeDefs,
  strongest,
  dischargeDef,
}:
let
  inherit (lib)
    all
    any
    concatMap
    elem
    head
    imap0
    isAttrs
    isList
    length
    map
    mapAttrs
    showOption
    ;

  mk =
    description: check: merge:
    { inherit description check merge; _type = "option-type"; };

  one =
    loc: defs:
    if length defs == 1 || all (def: def.value == (head defs).value) defs then
      (head defs).value
    else
      throw "The option `${showOption loc}' has conflicting definition values, in `${lib.concatMapStringsSep "' and `" (d: d.file) defs}'.";

  only =
    loc: defs:
    if length defs == 1 then
      (head defs).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.";

  isStringLike = x: builtins.isString x || builtins.isPath x || (isAttrs x && x ? outPath);
  scalar = description: check: mk description check one;
  between = lo: hi: scalar "integer between ${toString lo} and ${toString hi} (both inclusive)" (
    x: builtins.isInt x && x >= lo && x <= hi
  );
  joined = sep: mk "strings concatenated with ${builtins.toJSON sep}" builtins.isString (
    _: defs: lib.concatMapStringsSep sep (def: def.value) defs
  );

  attrsOf' =
    elemType:
    mk "attribute set of ${elemType.description}" isAttrs (
      loc: defs:
      let
        perDef = concatMap dischargeDef defs;
        byName = builtins.zipAttrsWith (_: found: found) (
          map (def: mapAttrs (_: value: { inherit (def) file; inherit value; }) def.value) perDef
        );
        merged = mapAttrs (name: found: rec {
          kept = strongest found;
          value = mergeDefs (loc ++ [ name ]) elemType kept;
        }) byName;
      in
      mapAttrs (_: m: m.value) (lib.filterAttrs (_: m: m.kept != [ ]) merged)
    )
    // { emptyValue = { }; };

  types = rec {
    raw = mk "raw value" (_: true) only;
    unspecified = mk "unspecified value" (_: true) (
      loc: defs:
      if all (def: isList def.value) defs then
        concatMap (def: def.value) defs
      else if length defs > 1 && all (def: isAttrs def.value && !def.value ? outPath) defs then
        (attrsOf' unspecified).merge loc defs
      else
        one loc defs
    );
    anything = unspecified;
    bool = scalar "boolean" builtins.isBool;
    int = scalar "signed integer" builtins.isInt;
    float = scalar "floating point number" builtins.isFloat;
    number = either int float;
    ints = {
      inherit between;
      positive = scalar "positive integer, meaning >0" (x: builtins.isInt x && x > 0);
      unsigned = scalar "unsigned integer, meaning >=0" (x: builtins.isInt x && x >= 0);
    };
    port = between 0 65535;
    str = scalar "string" builtins.isString;
    singleLineStr = str;
    nonEmptyStr = scalar "non-empty string" (x: builtins.isString x && x != "");
    strMatching =
      pattern:
      scalar "string matching the pattern ${pattern}" (
        x: builtins.isString x && builtins.match pattern x != null
      );
    lines = joined "\n";
    commas = joined ",";
    path = scalar "absolute path" (x: isStringLike x && builtins.substring 0 1 (toString x) == "/");
    package = scalar "package" (x: isAttrs x && x ? outPath);
    pkgs = mk "Nixpkgs package set" isAttrs only;
    attrs = mk "attribute set" isAttrs (_: lib.foldl' (acc: def: acc // def.value) { }) // { emptyValue = { }; };
    enum = values: scalar "one of ${builtins.toJSON values}" (x: elem x values);
    nullOr =
      t:
      mk "null or ${t.description}" (x: x == null || t.check x) (
        loc: defs:
        if all (def: def.value == null) defs then
          null
        else if any (def: def.value == null) defs then
          throw "The option `${showOption loc}' is defined both null and not null."
        else
          t.merge loc defs
      );
    either =
      a: b:
      mk "${a.description} or ${b.description}" (x: a.check x || b.check x) (
        loc: defs: (if all (def: a.check def.value) defs then a else b).merge loc defs
      );
    oneOf = ts: lib.foldl' either (head ts) (lib.tail ts);
    listOf =
      t:
      mk "list of ${t.description}" isList (
        loc: defs:
        concatMap (
          def:
          builtins.concatLists (
            imap0 (
              n: value:
              let
                found = strongest [ { inherit (def) file; inherit value; } ];
              in
              if found == [ ] then [ ] else [ (mergeDefs (loc ++ [ "[${toString n}]" ]) t found) ]
            ) def.value
          )
        ) defs
      )
      // { emptyValue = [ ]; };
    attrsOf = attrsOf';
    lazyAttrsOf = attrsOf';
    submodule =
      modules:
      mk "submodule" (x: isAttrs x || builtins.isFunction x || builtins.isPath x) (
        loc: defs:
        removeAttrs (evalModules {
          prefix = loc;
          modules =
            lib.toList modules
            ++ [ { _module.args.name = lib.last loc; } ]
            ++ map (
              def:
              { _file = def.file; }
              // (if isAttrs def.value then { config = def.value; } else { imports = [ def.value ]; })
            ) defs;
        }).config [ "_module" ]
      );
  };
in
types
