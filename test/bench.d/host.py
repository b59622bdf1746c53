"""The host that is measured: a real one, as test/lib/host makes it, with room for eight machines."""
import glob
import json
import os
import shutil
import subprocess
import sys
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
IDLE_SHARE = 0.15  # of one core: what guests that have booted need all together
BOOT_LIMIT_S = 600


def run(command, **options):
    """Runs to the end; what it said is shown when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"bench: error: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class WorkTree:
    def __init__(self, path, repo):
        self.path, self.repo = path, repo
        self.said = ""

    def git(self, *arguments):
        return run(["git", "-C", self.path, *arguments])


class Host:
    def __init__(self):
        env = os.environ
        self.dir = os.path.realpath(env.get("SKY_HOST", "/var/tmp/skyflake-bench"))
        self.prefix = env.get("SKY_PREFIX", "skyb")
        self.port = int(env.get("SKY_PORT", "10922"))
        self.preset = preset = env.get("SKY_PRESET", "ci")
        self.options = ["--prefix", self.prefix, "--port", str(self.port), "--net", env.get("SKY_NET", "10.77"),
                        "--uids", env.get("SKY_UIDS", "3400000"), "--tenants", "alice", "--preset", preset,
                        "--build", env.get("SKY_BUILD", f"{SOURCE}/build/{preset}"),
                        "--cache", env.get("SKY_CACHE", f"{SOURCE}/build/cache")]
        self.tenant = f"{self.prefix}-alice"
        self.config_file = f"{self.dir}/etc/config.json"
        self.config = {}
        self.trees = 0

    def up(self):
        run([f"{SOURCE}/test/lib/install", "bench"])
        run([f"{SOURCE}/test/lib/host", "up", self.dir, *self.options])
        with open(self.config_file, encoding="utf-8") as file:
            self.config = json.load(file)
        self.config["tenants"][self.tenant]["quota"] = {
            "machines": 64, "vcpu": 64, "mem_mib": 65536, "disk_mib": 65536, "cache_mib": 20480}
        with open(self.config_file, "w", encoding="utf-8") as file:
            json.dump(self.config, file)

    def down(self):
        run([f"{SOURCE}/test/lib/host", "down", self.dir])

    @property
    def uid(self):
        return self.config["tenants"][self.tenant]["uid"]

    def sshd(self):
        with open(f"{self.dir}/run/sshd.pid", encoding="utf-8") as file:
            return int(file.read())

    def state(self, *parts):
        return os.path.join(self.config["state"], *parts)

    @staticmethod
    def machines(count):
        return [f"m{n}" for n in range(1, count + 1)]

    def empty(self):
        """Ends all machines and empties the tenant's stores: the cell's, the cache, and the host's."""
        repos = self.state("tenants", self.tenant, "repos")
        for repo in os.listdir(repos):
            refs = run(["git", "-c", "safe.directory=*", "-C", f"{repos}/{repo}", "for-each-ref", "--format=%(refname)"])
            if refs.split():
                work = WorkTree(f"{self.dir}/work", repo.removesuffix(".git"))
                self.push_refs(work, [f":{ref}" for ref in refs.split()])
        for pattern in (f"tenants/{self.tenant}/repos", f"tenants/{self.tenant}/cell", f"tenants/{self.tenant}/builds",
                        f"cache/{self.tenant}", f"deployments/{self.tenant}", f"gcroots/{self.tenant}",
                        f"volumes/{self.tenant}", f"store/{self.tenant}"):
            for entry in glob.glob(self.state(pattern, "*")) + glob.glob(self.state(pattern, ".*")):
                run(["rm", "-rf", "--one-file-system", entry])
        os.sync()  # none of what was removed is written while something is measured

    def work_tree(self, name):
        """A new repository with the flake that is measured, committed."""
        self.trees += 1
        path = f"{self.dir}/work"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(f"{SOURCE}/test/bench.d/flake", path)
        work = WorkTree(path, f"{name}{self.trees}")
        work.git("init", "-q", "-b", "main")
        for key, value in (("user.name", "alice"), ("user.email", "alice@example.org"),
                           ("core.sshCommand", f"ssh -F {self.dir}/ssh_config")):
            work.git("config", key, value)
        self.commit(work)
        return work

    def commit(self, work):
        work.git("add", "-A")
        work.git("commit", "-q", "--allow-empty", "-m", "machines")

    def push_refs(self, work, refs):
        begin = time.monotonic()
        work.said = work.git("push", f"sky-alice:{work.repo}", *refs)
        return time.monotonic() - begin

    def push(self, work, machines):
        """Seconds until `git push` has ended, which says of each machine that it runs."""
        seconds = self.push_refs(work, [f"main:{machine}" for machine in machines])
        for machine in machines:
            if f"=====> {machine} running" not in work.said and f"=====> {machine} same system" not in work.said:
                raise SystemExit(f"bench: error: {machine} does not run:\n{work.said}")
        return seconds

    @staticmethod
    def evaluated(work):
        return any(word in work.said for word in ("evaluating", "building", "adding '"))

    def deployments(self, work, machines):
        """What the push recorded, by machine."""
        rev = work.git("rev-parse", "main").strip()
        result = {}
        for machine in machines:
            with open(self.state("deployments", self.tenant, work.repo, machine, f"{rev}.json"), encoding="utf-8") as file:
                result[machine] = json.load(file)["deployment"]
        return result

    def registry(self, work):
        with open(self.state("registry.json"), encoding="utf-8") as file:
            machines = json.load(file)["machines"]
        prefix = f"{self.tenant}.{work.repo}."
        return {name[len(prefix):]: entry for name, entry in machines.items() if name.startswith(prefix)}

    def identities(self, work):
        """As Nix text: what the push evaluated the machines with."""
        text = {}
        for machine, entry in self.registry(work).items():
            index = entry["index"]
            macs = " ".join(f'"02:5f:{k:02x}:{index >> 16:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"' for k in range(4))
            text[machine] = (f'{{ index = {index}; machineId = "{entry["machine_id"]}"; macs = [ {macs} ]; '
                             f'rootMib = {self.config["machine"]["root_mib"]}; }}')
        return text

    def starts(self, work):
        """By machine, how often it was asked to start anew. A guest may reboot by itself: that is no matter here."""
        serials = {}
        for machine in self.registry(work):
            with open(self.state("vm", f"{self.tenant}.{work.repo}.{machine}", "want.json"), encoding="utf-8") as file:
                serials[machine] = json.load(file)["serial"]
        return serials

    def hypervisors(self):
        """The pids of all machines' processes."""
        first = self.config["machine_uids"]["first"]
        pids = set()
        for entry in glob.glob("/proc/[0-9]*"):
            try:
                if first <= os.stat(entry).st_uid < first + self.config["machine_uids"]["count"]:
                    pids.add(int(os.path.basename(entry)))
            except FileNotFoundError:
                pass
        return pids

    def wait_until_idle(self):
        """Until the guests have booted: what they do then is no part of a push."""
        end = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < end:
            before, begin = self.cpu_of(self.hypervisors()), time.monotonic()
            time.sleep(3)
            if (self.cpu_of(self.hypervisors()) - before) / (time.monotonic() - begin) < IDLE_SHARE:
                return
        print("bench: the guests do not get idle", file=sys.stderr)

    @staticmethod
    def cpu_of(pids):
        """Seconds of processor time, user and system."""
        ticks = 0
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    fields = file.read().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return ticks / os.sysconf("SC_CLK_TCK")
