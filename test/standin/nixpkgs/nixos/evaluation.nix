# What evaluating a real NixOS costs: off unless a machine asks for it. It is work for the evaluator alone, and for each
# machine anew, because it begins with the machine's name.
{ config, lib, ... }:
let
  inherit (builtins) hashString;

  # As a module of some size: definitions from several files, merged by name, the strongest taken, all looked at.
  module =
    seed: n:
    let
      file = f: lib.listToAttrs (lib.genList (definition f) 40);
      definition = f: k: {
        name = "option${toString k}";
        value = {
          priority = k * f - (k * f / 7) * 7;
          content = "${seed}.${toString n}.${toString k}";
        };
      };
      merge = all: one: all // lib.mapAttrs (name: new: (all.${name} or [ ]) ++ [ new ]) one;
      stronger = a: b: if b.priority < a.priority then b else a;
      value = _: definitions: (lib.foldl' stronger (lib.head definitions) definitions).content;
    in
    hashString "sha256" (lib.toJSON (lib.mapAttrs value (lib.foldl' merge { } (lib.genList file 5))));
in
{
  options.standin.evaluation = {
    modules = lib.mkOption {
      type = lib.types.int;
      default = 0;
      description = "How many modules' worth of work; 4000 take about a second.";
    };
    result = lib.mkOption {
      type = lib.types.str;
      default = lib.foldl' module config.networking.hostName (lib.genList lib.id config.standin.evaluation.modules);
    };
  };
}
