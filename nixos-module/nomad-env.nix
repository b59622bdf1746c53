# How Nomad's own command reaches the cluster.
{ lib, cfg }:
{
  NOMAD_ADDR = lib.head cfg.settings.nomad.addresses;
}
// lib.optionalAttrs cfg.nomad.tls.enable {
  NOMAD_CACERT = cfg.nomad.tls.ca;
  NOMAD_CLIENT_CERT = cfg.nomad.tls.clientCert;
  NOMAD_CLIENT_KEY = cfg.nomad.tls.clientKey;
  NOMAD_TLS_SERVER_NAME = "server.${cfg.nomad.region}.nomad";
}
