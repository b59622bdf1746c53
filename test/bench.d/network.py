"""Hosts made of a network namespace: what a frame costs on its way through a mode's rules, and a port to make."""
import json
import os
import resource
import shutil
import statistics
import subprocess
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
MODES = {"bridge": {}, "vxlan": {"mode": "vxlan", "ids": {"first": 1, "last": 9}}, "routed": {"mode": "routed"}}
CROWDS = (1, 1000)
FRAMES = 200_000


def run(*command, **options):
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode:
        raise SystemExit(f"bench: error: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def quiet_netfilter(ns):
    """br_netfilter, where the kernel has it on, would send bridged frames through every table of IP: both ways alike."""
    for family in ("ip", "ip6", "arp"):
        if os.path.exists(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables"):
            run("ip", "netns", "exec", ns, "sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}tables=0")


class Network:
    """One host with one tenant, alice; machine 0 and 1 speak, `crowd` others are there, machine 2 comes and goes."""

    prefix = "skwn"

    def __init__(self, directory, tool, mode, crowd):
        self.dir, self.tool, self.crowd = f"{directory}/{mode}.{crowd}", tool, crowd
        self.mode = mode
        self.ns = f"{self.prefix}{os.getpid()}-{mode}-{crowd}"
        self.sleeper = None
        os.makedirs(f"{self.dir}/net/machines")
        storage = "0123456789abcdef0123456789abcdef"
        self.write("storage.json", {"v": 1, "storage": storage})
        self.config = self.write("config.json", {
            "v": 1, "host": "n1", "state": self.dir, "shared": self.dir, "storage": storage, "prefix": self.prefix,
            "tenants": {"alice": {"uid": 64001}}, "machine_uids": {"first": 2100000, "count": 40000},
            "cell": {"egress": ["0.0.0.0/0"]}, "nodes": {"n1": {"address": "192.0.2.1"}, "n2": {"address": "192.0.2.2"}},
            "networks": {"default": {"ipv4": "10.96.0.0/14", "tenant_prefix": 20, "ipv6": "fd99::/48", "dns": ["192.0.2.254"],
                                     **MODES[mode]}}})
        machines = {f"alice.infra.m{n}": {
            "index": n + 1, "uid": 2100000 + 4 * n, "machine_id": f"00000000-0000-4000-8000-{n + 1:012}", "volumes": {},
            "addresses": {"default": self.address(n)}} for n in range(crowd + 3)}
        self.write("registry.json", {"v": 1, "next_index": crowd + 4, "machines": machines, "tenants": {
            "alice": {"index": 1, "networks": {"default": "10.96.0.0/20"}}}})

    def write(self, name, value):
        with open(f"{self.dir}/{name}", "w", encoding="utf-8") as file:
            json.dump(value, file)
        return file.name

    @staticmethod
    def address(n):
        return f"10.96.{(n + 10) // 250}.{(n + 10) % 250 + 1}"

    @staticmethod
    def mac(n):
        return f"02:5f:00:00:{(n + 1) >> 8:02x}:{(n + 1) & 255:02x}"

    def tap(self, n):
        return f"{self.prefix}t{n + 1}x0"

    def on(self, *command, **options):
        return run("ip", "netns", "exec", self.ns, *command, **options)

    def request(self, n):
        return json.dumps({"v": 1, "tenant": "alice", "repo": "infra", "machine": f"m{n}", "netns": f"/proc/{self.sleeper.pid}/ns/net",
                           "interfaces": [{"tap": "sky0", "mac": self.mac(n), "network": "default", "queues": 1}]})

    def net(self, verb, n):
        """Calls the tool for one machine; seconds of its processor time, the kernel's part of it included."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.on(self.tool, "--config", self.config, verb, input=self.request(n))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def up(self):
        run("ip", "netns", "add", self.ns)
        run("ip", "netns", "add", f"{self.ns}-box")
        quiet_netfilter(self.ns)
        self.on("ip", "link", "add", "wan0", "up", "type", "bridge")
        self.on("ip", "addr", "add", "192.0.2.1/24", "dev", "wan0")
        self.sleeper = subprocess.Popen(["ip", "netns", "exec", f"{self.ns}-box", "sleep", "3600"])
        while run("ip", "netns", "identify", str(self.sleeper.pid)).strip() != f"{self.ns}-box":
            pass
        self.net("up", 0)
        self.net("attach", 0)
        # As if each of the others had been brought up: what `up` has written down of the first, and the taps.
        with open(f"{self.dir}/net/machines/alice.infra.m0.json", encoding="utf-8") as file:
            first = file.read()
        others = [n for n in range(1, self.crowd + 3) if n != 2]
        for n in others:
            entry = json.loads(first)
            entry.update(machine=f"m{n}", index=n + 1, uid=2100000 + 4 * n)
            text = json.dumps(entry).replace(self.mac(0), self.mac(n)).replace(f'"{self.address(0)}"', f'"{self.address(n)}"')
            text = text.replace(f'"{self.tap(0)}"', f'"{self.tap(n)}"').replace("alice.infra.m0", f"alice.infra.m{n}")
            with open(f"{self.dir}/net/machines/alice.infra.m{n}.json", "w", encoding="utf-8") as file:
                file.write(text + "\n")
        batch = "".join(f"tuntap add dev {self.tap(n)} mode tap vnet_hdr\n" for n in others)
        self.on("ip", "-batch", "-", input=batch)
        self.net("attach", 1)
        rest = [n for n in others if n != 1]
        master = "" if self.mode == "routed" else f" master {self.prefix}b1"
        self.on("ip", "-batch", "-", input="".join(f"link set dev {self.tap(n)}{master} up\n" for n in rest))
        self.on(self.tool, "--config", self.config, "boundary")

    def down(self):
        if self.sleeper:
            self.sleeper.kill()
            self.sleeper.wait()
        pid = f"{self.dir}/net/{self.prefix}b1.pid"
        if os.path.exists(pid):
            with open(pid, encoding="utf-8") as text:
                os.kill(int(text.read()), 15)
        for ns in (self.ns, f"{self.ns}-box"):
            subprocess.run(["ip", "netns", "del", ns], check=False, capture_output=True)

    def ports(self, runs):
        """Seconds of processor time of `up`, `attach` and `down` of one machine more; the median."""
        return statistics.median(sum(self.net(verb, 2) for verb in ("up", "attach", "down")) for _ in range(runs))

    def pace(self, program, frames=FRAMES):
        hop = self.mac(1)
        if self.mode == "routed":
            hop = self.on("cat", f"/sys/class/net/{self.tap(0)}/address").strip()
        return pace(self.ns, program, (self.tap(0), self.tap(1)), (self.mac(0), hop, self.mac(1)),
                    (self.address(0), self.address(1)), frames)


def pace(ns, program, taps, macs, addresses, frames):
    """Seconds of processor time per frame that arrived: on a busy host the clock's would say more of the others."""
    said = run("ip", "netns", "exec", ns, program, *taps, macs[0], macs[1], *addresses, str(frames),
               env={**os.environ, "PEER": macs[2]})
    arrived, _, cpu = (float(word) for word in said.split())
    if arrived < 0.99 * frames:
        raise SystemExit(f"bench: error: {int(arrived)} of {frames} frames arrived, from {taps[0]} to {taps[1]}")
    return cpu / arrived


class Bare:
    """Two taps on a bridge, and nothing else."""

    def __init__(self):
        self.ns = f"{Network.prefix}{os.getpid()}-bare"

    def up(self):
        run("ip", "netns", "add", self.ns)
        quiet_netfilter(self.ns)
        lines = ["link add br0 up type bridge"]
        for tap in ("tap0", "tap1"):
            lines += [f"tuntap add dev {tap} mode tap vnet_hdr", f"link set dev {tap} master br0 up"]
        run("ip", "-n", self.ns, "-batch", "-", input="\n".join(lines) + "\n")

    def down(self):
        subprocess.run(["ip", "netns", "del", self.ns], check=False, capture_output=True)

    def pace(self, program, frames=FRAMES):
        macs = (Network.mac(0), Network.mac(1), Network.mac(1))
        return pace(self.ns, program, ("tap0", "tap1"), macs, (Network.address(0), Network.address(1)), frames)


class BareRoutes:
    """Two taps with a route to each, as the kernel has it, and nothing else."""

    def __init__(self):
        self.ns, self.hop = f"{Network.prefix}{os.getpid()}-routes", None

    def on(self, *command, **options):
        return run("ip", "netns", "exec", self.ns, *command, **options)

    def up(self):
        run("ip", "netns", "add", self.ns)
        self.on("ip", "link", "set", "lo", "up")
        self.on("sysctl", "-qw", "net.ipv4.ip_forward=1")
        lines = []
        for n, tap in enumerate(("tap0", "tap1")):
            lines += [f"tuntap add dev {tap} mode tap vnet_hdr", f"link set dev {tap} up", f"addr add 10.96.0.1/32 dev {tap}",
                      f"route add {Network.address(n)}/32 dev {tap}"]
        self.on("ip", "-batch", "-", input="\n".join(lines) + "\n")
        self.on("ip", "neigh", "replace", Network.address(1), "lladdr", Network.mac(1), "dev", "tap1")
        self.hop = self.on("cat", "/sys/class/net/tap0/address").strip()

    def down(self):
        subprocess.run(["ip", "netns", "del", self.ns], check=False, capture_output=True)

    def pace(self, program, frames=FRAMES):
        macs = (Network.mac(0), self.hop, Network.mac(1))
        return pace(self.ns, program, ("tap0", "tap1"), macs, (Network.address(0), Network.address(1)), frames)


def bird_memory(directory, count):
    """MiB that bird, with the configuration of doc/network.md, holds of a host with so many machines, each with a /32 and a /128."""
    ns = f"{Network.prefix}{os.getpid()}-bird"
    conf, control = f"{directory}/bird.conf", f"{directory}/bird.ctl"
    with open(conf, "w", encoding="utf-8") as file:
        file.write("router id 192.0.2.1; protocol device { }\n")
        for family in ("ipv4", "ipv6"):
            file.write(f"protocol kernel {{ {family} {{ import where krt_source = 83; }}; learn; }}\n")
    run("ip", "netns", "add", ns)
    bird = None
    try:
        on = ("ip", "netns", "exec", ns)
        run(*on, "ip", "-batch", "-", input="link set lo up\ntuntap add dev tap0 mode tap\nlink set dev tap0 up\n")
        run(*on, "ip", "-batch", "-", input="".join(
            f"route add 10.{64 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}/32 dev tap0 proto 83\n"
            f"route add fd99::{n + 1:x}/128 dev tap0 proto 83\n" for n in range(count)))
        bird = subprocess.Popen([*on, "bird", "-f", "-c", conf, "-s", control])
        for _ in range(600):
            time.sleep(0.1)
            said = subprocess.run(["birdc", "-s", control, "show", "route", "count"], check=False, capture_output=True, text=True)
            if f"Total: {2 * count} of" in said.stdout:
                break
        else:
            raise SystemExit(f"bench: error: bird did not learn {2 * count} routes:\n{said.stdout}{said.stderr}")
        with open(f"/proc/{bird.pid}/smaps_rollup", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Rss:")) / 1024
    finally:
        if bird:
            bird.kill()
            bird.wait()
        subprocess.run(["ip", "netns", "del", ns], check=False, capture_output=True)


class NetworkBench:
    """The hosts that are measured, made when they are asked for, and the program that sends."""

    def __init__(self, directory, preset, runs):
        self.dir, self.runs = directory, runs
        self.build = os.environ.get("SKY_BUILD", f"{SOURCE}/build/{preset}")
        self.preset = preset
        self.program = f"{directory}/tap-to-tap"
        self.bare, self.bare_routes, self.hosts = Bare(), BareRoutes(), {}

    def up(self):
        run(f"{SOURCE}/test/lib/install", "build", "bench")
        if not os.path.exists(f"{self.build}/CMakeCache.txt"):
            run("cmake", "-S", SOURCE, "--preset", self.preset, "-B", self.build)
        run("cmake", "--build", self.build, "--target", "sky-net-setup")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, 0o755)
        run("gcc", "-O2", "-Wall", "-Wextra", "-o", self.program, f"{SOURCE}/test/bench.d/tap-to-tap.c")
        self.bare.up()
        self.bare_routes.up()

    def host(self, mode, crowd):
        if (mode, crowd) not in self.hosts:
            self.hosts[mode, crowd] = Network(self.dir, f"{self.build}/bin/sky-net-setup", mode, crowd)
            self.hosts[mode, crowd].up()
        return self.hosts[mode, crowd]

    def pace(self, mode, crowd):
        """In turn; of each the best, which others disturbed least."""
        pairs = [(self.host(mode, crowd).pace(self.program), self.bare.pace(self.program)) for _ in range(self.runs + 1)]
        return tuple(min(column) for column in zip(*pairs))

    def pace_of_routes(self):
        pairs = [(self.bare_routes.pace(self.program), self.bare.pace(self.program)) for _ in range(self.runs + 1)]
        return tuple(min(column) for column in zip(*pairs))

    def routes(self, count):
        """bird's memory with so many machines' routes, and with none."""
        return bird_memory(self.dir, count), bird_memory(self.dir, 0)

    def port(self, mode, crowd):
        return self.host(mode, crowd).ports(self.runs)

    def down(self):
        for host in self.hosts.values():
            host.down()
        self.bare.down()
        self.bare_routes.down()
        shutil.rmtree(self.dir, ignore_errors=True)
