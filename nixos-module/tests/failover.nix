# A host is lost, its power cut: Nomad, Ceph and the leases of the others go on, and it is one of them again when it is back.
{ bringUp, ... }:
{
  name = "skyflake-failover";
  imports = [ ./cluster.nix ];

  testScript = ''
    ${bringUp}
    token = "NOMAD_TOKEN=$(cat /var/lib/skyflake-secrets/nomad-operator.token)"
    ceph = "ceph --name client.admin -k /var/lib/skyflake-secrets/ceph.client.admin.keyring"

    n3.crash()
    n1.wait_until_succeeds(f"{token} skyflake-nomad node status -json | jq -e '[.[] | select(.Status == \"down\") | .Name] == [\"n3\"]'", timeout=120)
    n1.wait_until_succeeds(f"{ceph} -s | grep -F '2 up'", timeout=120)
    # Registry, records and repositories are where they were.
    n1.succeed("sky-nomad-submit status --all --json")
    n2.succeed("su alice -s /run/current-system/sw/bin/sky-shell -c status")
    n1.succeed("touch /srv/skyflake/written && sync -f /srv/skyflake && rm /srv/skyflake/written")

    n3.start()
    n3.wait_for_unit("sshd.service")
    n1.wait_until_succeeds(f"{token} skyflake-nomad node status -json | jq -e '[.[] | select(.Status == \"ready\")] | length == 3'", timeout=300)
    n1.wait_until_succeeds(f"{ceph} -s | grep -F '3 up'", timeout=300)
    n3.wait_until_succeeds("systemctl is-active skyflake-host.service", timeout=300)
    n3.succeed("su alice -s /run/current-system/sw/bin/sky-shell -c status")
  '';
}
