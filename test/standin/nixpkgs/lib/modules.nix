# A small module system with the meaning of nixpkgs' own: imports, nested options, priorities, mkIf, mkMerge, submodules,
# unknown options are errors. Left out: freeform types, disabledModules, renames that warn.
{ lib }:
let
  inherit (lib)
    all
    attrNames
    concatLists
    concatMap
    concatStringsSep
    filter
    foldl'
    isAttrs
    isFunction
    length
    map
    mapAttrs
    optional
    ;

  showOption = concatStringsSep ".";
  isType = type: value: isAttrs value && value._type or null == type;

  mkOption = attrs: attrs // { _type = "option"; };
  mkEnableOption =
    name:
    mkOption {
      type = types.bool;
      default = false;
      description = "Whether to enable ${name}.";
    };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  defaultPriority = 100;
  defaultOrder = 1000;

  # What a module is written as, to { file, key, imports, options, config }.
  load =
    args: parent: module:
    let
      isFile = builtins.isPath module || builtins.isString module;
      file = if isFile then toString module else parent;
      raw = if isFile then import module else module;
      called =
        if isFunction raw then
          raw (args // mapAttrs (name: _: args.${name} or args.config._module.args.${name}) (lib.functionArgs raw))
        else
          raw;
      full = called ? options || called ? config;
      meta = [
        "_file"
        "key"
        "imports"
      ];
      stray = attrNames (
        removeAttrs called (
          meta
          ++ [
            "options"
            "config"
            "_class"
            "meta"
          ]
        )
      );
    in
    rec {
      file' = called._file or file;
      key = called.key or (if isFile then file else null);
      imports = called.imports or [ ];
      options = called.options or { };
      config =
        if !full then
          removeAttrs called meta
        else if stray != [ ] then
          throw "Module `${file'}' has an unsupported attribute `${lib.head stray}'."
        else
          called.config or { };
    };

  collect =
    args: modules:
    let
      step =
        state: { parent, module }:
        let
          m = load args parent module;
        in
        if m.key != null && state.seen ? ${m.key} then
          state
        else
          let
            below = foldl' step {
              seen = state.seen // (if m.key != null then { ${m.key} = true; } else { });
              inherit (state) list;
            } (map (module: {
              parent = m.file';
              inherit module;
            }) m.imports);
          in
          below // { list = below.list ++ [ m ]; };
    in
    (foldl' step {
      seen = { };
      list = [ ];
    } (map (module: {
      parent = "<unknown-file>";
      inherit module;
    }) modules)).list;

  # mkIf, mkMerge and mkOverride around a set, moved to its attributes.
  pushDown =
    value:
    if isType "merge" value then
      concatMap pushDown value.contents
    else if isType "if" value then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if isType "override" value then
      map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # mkIf and mkMerge around a value, resolved.
  discharge =
    value:
    if isType "merge" value then
      concatMap discharge value.contents
    else if isType "if" value then
      if value.condition then discharge value.content else [ ]
    else
      [ value ];

  dischargeDef = def: map (value: def // { inherit value; }) (discharge def.value);

  # Resolved definitions of the strongest priority, in order.
  strongest =
    defs:
    let
      resolved = map (
        def:
        def
        // {
          value = if isType "override" def.value then def.value.content else def.value;
          priority = def.value.priority or null;
          override = isType "override" def.value;
        }
      ) (concatMap dischargeDef defs);
      priorityOf = def: if def.override then def.priority else defaultPriority;
      best = foldl' (a: def: if priorityOf def < a then priorityOf def else a) 9999 resolved;
      kept = concatMap dischargeDef (filter (def: priorityOf def == best) resolved);
      orderOf = def: if isType "order" def.value then def.value.priority else defaultOrder;
      ordered = lib.sort (a: b: orderOf a < orderOf b) kept;
    in
    map (def: {
      inherit (def) file;
      value = if isType "order" def.value then def.value.content else def.value;
    }) ordered;

  mergeDefs =
    loc: type: defs:
    let
      wrong = filter (def: !type.check def.value) defs;
    in
    if wrong != [ ] then
      throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition in `${(lib.head wrong).file}'."
    else
      type.merge loc defs;

  evalOption =
    loc: opt: defs:
    let
      type = opt.type or types.unspecified;
      withDefault =
        defs
        ++ optional (opt ? default) {
          file = "<default>";
          value = mkOverride 1500 opt.default;
        };
      final = strongest withDefault;
      value =
        if final == [ ] && !(type ? emptyValue) then
          throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option."
        else if final == [ ] then
          type.emptyValue
        else
          mergeDefs loc type final;
    in
    opt
    // {
      inherit loc type;
      isDefined = final != [ ];
      definitions = map (def: def.value) final;
      value = (opt.apply or lib.id) value;
    };

  # decls: option trees; defs: [{ file, value }]. Gives the tree of evaluated options and the definitions without one.
  evalTree =
    loc: decls: defs:
    let
      here = concatMap (def: map (value: def // { inherit value; }) (pushDown def.value)) defs;
      byName = lib.zipNames (map (d: mapAttrs (_: v: [ v ]) d) decls);
      defsOf =
        name:
        concatMap (def: optional (def.value ? ${name}) {
          inherit (def) file;
          value = def.value.${name};
        }) here;
      child =
        name: found:
        if all (isType "option") found then
          if length found == 1 then
            {
              option = evalOption (loc ++ [ name ]) (lib.head found) (defsOf name);
              unknown = [ ];
            }
          else
            throw "The option `${showOption (loc ++ [ name ])}' is already declared."
        else
          let
            sub = evalTree (loc ++ [ name ]) found (defsOf name);
          in
          {
            option = sub.options;
            inherit (sub) unknown;
          };
      children = mapAttrs child byName;
      stray = concatMap (
        def:
        map (name: {
          inherit (def) file;
          loc = loc ++ [ name ];
        }) (filter (name: !byName ? ${name}) (attrNames def.value))
      ) here;
    in
    {
      options = mapAttrs (_: c: c.option) children;
      unknown = stray ++ concatLists (map (name: children.${name}.unknown) (attrNames children));
    };

  valuesOf = mapAttrs (_: opt: if isType "option" opt then opt.value else valuesOf opt);

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      ...
    }@evalArgs:
    let
      internal.options._module.args = mkOption {
        type = types.lazyAttrsOf types.raw;
        default = { };
      };
      args = {
        inherit lib;
        inherit (result) config options;
      }
      // specialArgs;
      loaded = collect args ([ internal ] ++ modules);
      tree = evalTree prefix (map (m: m.options) loaded) (
        map (m: {
          file = m.file';
          value = m.config;
        }) loaded
      );
      unknown = lib.head tree.unknown;
      checked =
        if tree.unknown == [ ] then
          tree.options
        else
          throw "The option `${showOption unknown.loc}' does not exist. Definition in `${unknown.file}'.";
      result = {
        _type = "configuration";
        options = tree.options;
        config = valuesOf checked;
        extendModules =
          {
            modules ? [ ],
            specialArgs ? { },
            prefix ? [ ],
          }:
          evalModules (
            evalArgs
            // {
              modules = evalArgs.modules ++ modules;
              specialArgs = evalArgs.specialArgs or { } // specialArgs;
            }
          );
      };
    in
    result;

  types = import ./types.nix {
    inherit
      lib
      evalModules
      mergeDefs
      strongest
      dischargeDef
      ;
  };
in
{
  inherit
    evalModules
    isType
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    mkOrder
    mkOverride
    showOption
    types
    ;
  mkDefault = mkOverride 1000;
  mkOptionDefault = mkOverride 1500;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  zipNames = builtins.zipAttrsWith (_: concatLists);
}
