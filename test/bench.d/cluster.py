"""Three hosts with Nomad, as test/lib/cluster makes them, and what Nomad alone needs for the same."""
import glob
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

    def nomad(self, host="n1"):
        return Nomad(self.dir, f"{self.net}.255.{10 + int(host[1:])}")

    def on(self, *command):
        """Seconds that a command takes on n1, and what it said."""
        begin = time.monotonic()
        said = run([f"{SOURCE}/test/lib/cluster", "on", self.dir, "n1", *command])
        return time.monotonic() - begin, said

    def push_refs(self, work, refs):
        begin = time.monotonic()
        work.said = work.git("push", f"n1-alice:{work.repo}", *refs)
        return time.monotonic() - begin

    def configure(self, **settings):
        """Sets keys of the hosts' configurations: TENANT's quota, how long a machine may take, and what is Nomad's."""
        for file in glob.glob(f"{self.dir}/hosts/*/etc/config.json"):
            with open(file, encoding="utf-8") as config:
                all_of_it = json.load(config)
            all_of_it["nomad"].update({key: value for key, value in settings.items() if key not in ("quota", "machine")})
            all_of_it["machine"].update(settings.get("machine", {}))
            all_of_it["tenants"][self.tenant]["quota"].update(settings.get("quota", {}))
            with open(file, "w", encoding="utf-8") as config:  # in place: each host has its own bound over one path
                json.dump(all_of_it, config)

    # --- from an accepted branch to the hypervisor -------------------------------------------------------------------

    def start(self, work, machine):
        """Seconds from the branch's change to the hypervisor's start, of a machine that is new."""
        self.push_refs(work, [f"main:{machine}"])
        return self.began(work, machine) - self.moved(work, machine)

    def moved(self, work, machine):
        """When the machine's branch was."""
        ref = self.state("tenants", self.tenant, "repos", f"{work.repo}.git", "refs", "heads", machine)
        return os.stat(ref).st_mtime - (time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))

    def began(self, work, machine, after=0):
        """When its hypervisor did, waited for."""
        uid = self.registry(work)[machine]["uid"]
        return first_of(lambda pid: os.stat(f"/proc/{pid}").st_uid == uid and begun(pid) > after)

    @staticmethod
    def register(nomad, number, **more):
        """A job that does nothing, with a command that no other has."""
        command = ["/bin/sleep", f"300.{os.getpid()}{number}"]
        task = {"Name": "nothing", "Driver": "raw_exec", "Config": {"command": command[0], "args": command[1:]},
                "Resources": {"CPU": 50, "MemoryMB": 16}}
        nomad.call("PUT", "jobs", {"Job": {"ID": f"bench-{number}", "Name": f"bench-{number}", "Type": "service",
                                           "Datacenters": ["*"], "TaskGroups": [{"Name": "g", "Tasks": [task]}], **more}})

    @staticmethod
    def empty_began(number, after=0):
        command = ["/bin/sleep", f"300.{os.getpid()}{number}"]

        def is_it(pid):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                return file.read().split("\0")[:2] == command and begun(pid) > after

        return first_of(is_it)

    def empty_job(self, number):
        """Seconds from its registration to the start of a job that does nothing."""
        nomad = self.nomad()
        moved = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.register(nomad, number)
        seconds = self.empty_began(number) - moved
        nomad.call("DELETE", f"job/bench-{number}")
        return seconds

    # --- many in one push --------------------------------------------------------------------------------------------

    def push_many(self, work, count):
        """Seconds of a push of so many tiny machines, and those from their branches to the last hypervisor's start."""
        machines = [f"t{n}" for n in range(1, count + 1)]
        begin = time.monotonic()
        for last in (False, False, True):  # on a computer that they bring to its limits one may need a second push
            try:
                self.push_refs(work, [f"main:{machine}" for machine in machines])
                break
            except SystemExit:
                if last:
                    raise
        seconds = time.monotonic() - begin
        last = max(self.began(work, machine) for machine in machines)
        moved = min(self.moved(work, machine) for machine in machines)
        self.push_refs(work, [f":{machine}" for machine in machines])
        return seconds, last - moved

    def empty_jobs(self, count):
        """Seconds from the registration of so many empty jobs, some at a time, to the last one's start."""
        numbers = range(1000, 1000 + count)
        moved = time.clock_gettime(time.CLOCK_BOOTTIME)

        def lane(first):
            nomad = self.nomad()
            for number in numbers[first::LANES]:
                self.register(nomad, number)

        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(lane, range(LANES)))
        last = max(self.empty_began(number) for number in numbers)
        for number in numbers:
            self.nomad().call("DELETE", f"job/bench-{number}")
        return last - moved

    # --- a host that is lost -----------------------------------------------------------------------------------------

    def host_of(self, work, machine):
        said = glob.glob(self.state("states", self.tenant, work.repo, machine, "*.json"))
        with open(max(said, key=os.path.getmtime), encoding="utf-8") as file:
            return json.load(file)["host"]

    def loss(self, work, machines):
        """Seconds without a machine, and without an empty job, when the host dies that has both; not Nomad's leader."""
        leader = self.nomad().call("GET", "status/leader").split(":")[0]
        for machine in machines:
            host = self.host_of(work, machine)
            if leader != f"{self.net}.255.{10 + int(host[1:])}":
                break
        else:
            raise SystemExit("bench: error: all machines are on the leader's host")
        nomad = self.nomad("n2" if host == "n1" else "n1")
        self.register(nomad, 2000, Affinities=[{"LTarget": "${node.unique.name}", "RTarget": host, "Operand": "=",
                                                "Weight": 100}])
        self.empty_began(2000)
        if nomad.call("GET", "job/bench-2000/allocations")[0]["NodeName"] != host:
            raise SystemExit(f"bench: error: the empty job is not on {host}")
        gone = time.clock_gettime(time.CLOCK_BOOTTIME)
        run([f"{SOURCE}/test/lib/cluster", "kill", self.dir, host])
        empty = self.empty_began(2000, gone) - gone
        ours = self.began(work, machine, gone) - gone
        nomad.call("DELETE", "job/bench-2000")
        run([f"{SOURCE}/test/lib/cluster", "start", self.dir, host])
        end = time.monotonic() + START_LIMIT_S
        while sum(node["Status"] == "ready" for node in nomad.call("GET", "nodes")) < 3:
            if time.monotonic() > end:
                raise SystemExit(f"bench: error: {host} does not come back")
            time.sleep(0.5)
        return ours, empty

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

    def refuse_big(self, work):
        """Brings a machine that no host can take as far as its admission, which `admission` then asks for again."""
        self.configure(spare="refuse")
        subprocess.run(["git", "-C", work.path, "push", f"n1-alice:{work.repo}", "main:big"], check=False,
                       stdin=subprocess.DEVNULL, capture_output=True)

    def forget_big(self, work):
        self.push_refs(work, [":big"])
        self.configure(spare="warn")

    def admission(self, work):
        """Seconds until a machine is refused by quota and N+1, the last of what is asked."""
        line = json.dumps({"v": 1, "tenant": self.tenant, "repo": work.repo, "machine": "big",
                           "rev": work.git("rev-parse", "main").strip()})
        return self.on("sh", "-c", 'line=$1; shift; echo "$line" | "$@" 2>&1 | grep -q "must not die"', "sh", line,
                       *self.submit, "submit")[0]

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


