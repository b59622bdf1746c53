"""Three hosts with Nomad, as test/lib/cluster makes them, and what Nomad alone needs for the same."""
import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from host import SOURCE, Host, run

START_LIMIT_S = 120
LANES = 8  # connections that register jobs at once


class Nomad:
    """The API, as the operator. A connection for each thread: open one, close it."""

    def __init__(self, directory, address):
        context = ssl.create_default_context(cafile=f"{directory}/tls/ca.pem")
        context.load_cert_chain(f"{directory}/tls/agent.pem", f"{directory}/tls/agent.key")
        with open(f"{directory}/tokens/operator", encoding="utf-8") as file:
            self.headers = {"X-Nomad-Token": file.read().strip()}
        self.connection = http.client.HTTPSConnection(address, 4646, timeout=60)
        self.connection.sock = context.wrap_socket(socket.create_connection((address, 4646)),
                                                   server_hostname="server.global.nomad")

    def call(self, method, path, body=None):
        self.connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"bench: error: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None


def begun(pid):
    """When a process began, in seconds of CLOCK_BOOTTIME; 10 ms fine."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def first_of(found):
    """The first process that `found(pid)` is true of, waited for."""
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and found(entry):
                    return begun(entry)
            except OSError:  # gone meanwhile
                pass
        time.sleep(0.02)
    raise SystemExit("bench: error: it did not start")


class Cluster(Host):
    def __init__(self):
        super().__init__()
        self.dir = os.path.realpath(os.environ.get("SKY_HOST", "/var/tmp/skyflake-bench") + "-cluster")
        self.config_file = f"{self.dir}/etc/config.json"
        self.net = os.environ.get("SKY_NET", "10.77")
        self.options[self.options.index("--tenants") + 1] = "alice bob"
        self.crowd = 0
        self.submit = [f"{self.dir}/usr/bin/sky-nomad-submit", "--config", self.config_file]

    def up(self):
        run([f"{SOURCE}/test/lib/install", "bench"])
        run([f"{SOURCE}/test/lib/cluster", "up", self.dir, *self.options])
        with open(f"{self.dir}/hosts/n1/etc/config.json", encoding="utf-8") as file:
            self.config = json.load(file)

    def down(self):
        run([f"{SOURCE}/test/lib/cluster", "down", self.dir])

    def state(self, *parts):
        return os.path.join(self.dir, "shared", *parts)

    def nomad(self):
        return Nomad(self.dir, f"{self.net}.255.11")

    def on(self, *command):
        """Seconds that a command takes on n1, and what it said."""
        begin = time.monotonic()
        said = run([f"{SOURCE}/test/lib/cluster", "on", self.dir, "n1", *command])
        return time.monotonic() - begin, said

    def push_refs(self, work, refs):
        work.said = work.git("push", f"n1-alice:{work.repo}", *refs)

    # --- from an accepted branch to the hypervisor -------------------------------------------------------------------

    def start(self, work, machine):
        """Seconds from the branch's change to the hypervisor's start, of a machine that is new."""
        self.push_refs(work, [f"main:{machine}"])
        ref = self.state("tenants", self.tenant, "repos", f"{work.repo}.git", "refs", "heads", machine)
        uid = self.registry(work)[machine]["uid"]
        moved = os.stat(ref).st_mtime - (time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
        return first_of(lambda pid: os.stat(f"/proc/{pid}").st_uid == uid) - moved

    def empty_job(self, number):
        """Seconds from its registration to the start of a job that does nothing."""
        command = ["/bin/sleep", f"300.{os.getpid()}{number}"]  # that no other has
        task = {"Name": "nothing", "Driver": "raw_exec", "Config": {"command": command[0], "args": command[1:]},
                "Resources": {"CPU": 100, "MemoryMB": 64}}
        nomad = self.nomad()
        moved = time.clock_gettime(time.CLOCK_BOOTTIME)
        nomad.call("PUT", "jobs", {"Job": {"ID": f"bench-{number}", "Name": f"bench-{number}", "Type": "service",
                                           "Datacenters": ["*"], "TaskGroups": [{"Name": "g", "Tasks": [task]}]}})

        def is_it(pid):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                return file.read().split("\0")[:2] == command

        seconds = first_of(is_it) - moved
        nomad.call("DELETE", f"job/bench-{number}")
        return seconds

    # --- a cluster with many jobs ------------------------------------------------------------------------------------

    def fill(self, count):
        """So many machines of bob's, as records and as jobs that Nomad keeps; none of them runs."""
        bob = f"{self.prefix}-bob"
        rev, spec = "a" * 40, "b" * 64
        records = self.state("records", bob, "many")
        owner = os.stat(self.state("records"))
        for directory in (os.path.dirname(records), records):
            os.makedirs(directory, 0o750, exist_ok=True)
            os.chown(directory, owner.st_uid, owner.st_gid)
        record = {"v": 1, "rev": rev, "want": "running", "pin": None,
                  "did": {"state": "running", "rev": rev, "job": None, "spec": spec, "at": "2026-11-22T10:00:00Z",
                          "session": None, "why": None},
                  "good": [rev], "granted": {"vcpu": 1, "mem_mib": 128, "disk_mib": 0}}
        task = {"Name": "vm", "Driver": "raw_exec", "Leader": True, "Config": {"command": "/bin/true"},
                "Resources": {"CPU": 100, "MemoryMB": 64}}

        def lane(first):
            nomad = self.nomad()
            for number in range(first, count, LANES):
                file = f"{records}/m{number}.json"
                with open(file, "w", encoding="utf-8") as out:
                    json.dump(record, out)
                os.chown(file, owner.st_uid, owner.st_gid)
                os.chmod(file, 0o640)
                name = f"{bob}.many.m{number}"
                nomad.call("PUT", f"jobs?namespace=sky-{bob}", {"Job": {
                    "ID": name, "Name": name, "Namespace": f"sky-{bob}", "Type": "service", "Datacenters": ["*"],
                    "Meta": {"sky_spec": spec, "sky_rev": rev},
                    "TaskGroups": [{"Name": "vm", "Count": 0, "Tasks": [task]}]}})

        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(lane, [self.crowd + n for n in range(LANES)]))
        self.crowd = count

    def call(self, path):
        """Seconds of one bare call, by curl."""
        with open(f"{self.dir}/tokens/operator", encoding="utf-8") as file:
            token = file.read().strip()
        return self.on("curl", "-sS", "--fail", "-o", "/dev/null", "--cacert", f"{self.dir}/tls/ca.pem", "--cert",
                       f"{self.dir}/tls/agent.pem", "--key", f"{self.dir}/tls/agent.key", "-H",
                       f"X-Nomad-Token: {token}", "--connect-to", "::127.0.0.1:4646",
                       f"https://server.global.nomad/v1/{path}")[0]

    def status(self, work):
        """Seconds in which the tool tells the status of a tenant's machines, and what it said."""
        branches = {line.split("refs/heads/")[1]: line.split()[0]
                    for line in work.git("ls-remote", f"n1-alice:{work.repo}", "refs/heads/*").splitlines()}
        line = json.dumps({"v": 1, "tenant": self.tenant, "repo": work.repo, "branches": branches})
        return self.on("sh", "-c", 'line=$1; shift; echo "$line" | "$@"', "sh", line, *self.submit, "status")

    def reconcile(self):
        """Seconds of a reconcile that finds nothing to do, and the MiB of the largest process in it."""
        command = [f"{SOURCE}/test/lib/cluster", "on", self.dir, "n1", *self.submit, "reconcile"]
        begin = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as child:
            said = child.stdout.read()
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0 or "----->" in said:
            raise SystemExit(f"bench: error: reconcile found something to do:\n{said}")
        return time.monotonic() - begin, used.ru_maxrss / 1024


def median(count, measure):
    return statistics.median(measure(n) for n in range(count))


