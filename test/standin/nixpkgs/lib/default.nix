# The part of nixpkgs' lib that guests and their modules use.
let
  lib = rec {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      functionArgs
      genList
      groupBy
      hasAttr
      head
      isAttrs
      isBool
      isFunction
      isInt
      isList
      isPath
      isString
      length
      listToAttrs
      map
      mapAttrs
      match
      replaceStrings
      seq
      sort
      stringLength
      substring
      tail
      toJSON
      toString
      ;

    id = x: x;
    const = x: _: x;
    toList = x: if isList x then x else [ x ];
    optional = cond: x: if cond then [ x ] else [ ];
    optionals = cond: xs: if cond then xs else [ ];
    optionalString = cond: s: if cond then s else "";
    optionalAttrs = cond: attrs: if cond then attrs else { };
    flatten = x: if isList x then concatMap flatten x else [ x ];
    range = first: last: genList (n: first + n) (if last < first then 0 else last - first + 1);
    take = n: xs: genList (elemAt xs) (if n < length xs then n else length xs);
    drop = n: xs: genList (i: elemAt xs (i + n)) (if n < length xs then length xs - n else 0);
    imap0 = f: xs: genList (i: f i (elemAt xs i)) (length xs);
    zipListsWith =
      f: xs: ys:
      genList (i: f (elemAt xs i) (elemAt ys i)) (if length xs < length ys then length xs else length ys);
    unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
    last = xs: elemAt xs (length xs - 1);

    genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (attrNames attrs);
    mapAttrs' = f: attrs: listToAttrs (mapAttrsToList f attrs);
    filterAttrs =
      f: attrs: removeAttrs attrs (filter (name: !f name attrs.${name}) (attrNames attrs));
    attrByPath =
      path: default: attrs:
      if path == [ ] then
        attrs
      else if isAttrs attrs && attrs ? ${head path} then
        attrByPath (tail path) default attrs.${head path}
      else
        default;
    setAttrByPath =
      path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
    recursiveUpdate =
      a: b:
      a
      // mapAttrs (
        name: value: if isAttrs value && isAttrs (a.${name} or null) then recursiveUpdate a.${name} value else value
      ) b;

    concatStrings = concatStringsSep "";
    concatMapStrings = f: xs: concatStrings (map f xs);
    concatMapStringsSep =
      sep: f: xs:
      concatStringsSep sep (map f xs);
    concatLines = concatMapStrings (line: line + "\n");
    boolToString = b: if b then "true" else "false";
    hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
    hasSuffix =
      suffix: s:
      let
        n = stringLength s - stringLength suffix;
      in
      n >= 0 && substring n (-1) s == suffix;
    removePrefix = prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
    replaceString = from: to: replaceStrings [ from ] [ to ];
    escapeShellArg = arg: "'${replaceString "'" "'\\''" (toString arg)}'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    getExe' = package: name: "${package}/bin/${name}";
    getExe = package: getExe' package package.meta.mainProgram;
    stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
    lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
    strings = { inherit lowerChars hasPrefix hasSuffix escapeShellArgs; };

    warn = message: builtins.trace "warning: ${message}";
    warnIf = cond: message: if cond then warn message else id;
    throwIf = cond: message: if cond then throw message else id;
    throwIfNot = cond: throwIf (!cond);

    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    trivial.release = "25.11";
    version = "25.11-standin";
  }
  // import ./modules.nix { inherit lib; };
in
lib
