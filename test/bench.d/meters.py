"""Processor time and memory of all that a push starts."""
import collections
import glob
import os
import re
import signal
import subprocess
import threading
import time

TOOLS = ("sky-shell", "sky-build", "sky-cache-push", "sky-nomad-submit", "sky-vm-run", "sky-net-setup")
MACHINES = ("qemu-system-x86", "ld.so", "virtiofsd")  # what runs in a machine is no part of the push
FREQUENCY = 1999
LOOK_S = 0.05
SAMPLE = re.compile(r"\s*(.+?)\s+[0-9a-f]+ (.+)")
CGROUPS = ("/sys/fs/cgroup/perf_event", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")


def write(file, text):
    try:
        with open(file, "w", encoding="utf-8") as out:
            out.write(str(text))
    except ProcessLookupError:  # it has just ended
        pass


def tool_of(comm):
    return next((tool for tool in TOOLS if tool[:15] == comm), None)


class CpuMeter:
    """Samples of the processor's clock for sshd and all that it starts, by program and function: perf, not rusage,
    because it tells a function from another. NAR hashing is what lies in a function named after sha256."""

    Share = collections.namedtuple("Share", "tools hashing total lines")

    def __init__(self, host):
        self.data = f"{host.dir}/perf.data"
        self.group = f"{host.prefix}-bench"
        top = next(path for path in CGROUPS if os.path.exists(f"{path}/cgroup.procs"))
        self.procs, self.procs_before = f"{top}/{self.group}/cgroup.procs", f"{top}/cgroup.procs"
        self.sshd = host.sshd()
        self.perf = None

    def start(self):
        os.makedirs(os.path.dirname(self.procs), exist_ok=True)
        write(self.procs, self.sshd)
        self.perf = subprocess.Popen(["perf", "record", "-q", "-m", "1024", "-o", self.data, "-e", "cpu-clock",
                                      "-F", str(FREQUENCY), "-a", "-G", self.group],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.setpriority(os.PRIO_PROCESS, self.perf.pid, -20)  # or it loses samples
        time.sleep(1)

    def stop(self):
        self.perf.send_signal(signal.SIGINT)
        self.perf.wait()
        while os.path.exists(self.procs):  # those that were started live on elsewhere
            with open(self.procs, encoding="utf-8") as file:
                for pid in file.read().split():
                    write(self.procs_before, pid)
            try:
                os.rmdir(os.path.dirname(self.procs))
            except OSError:
                pass

    def share(self):
        report = subprocess.run(["perf", "script", "-i", self.data, "-F", "comm,ip,sym"], capture_output=True, text=True,
                                check=True).stdout
        samples, hashing, functions = collections.Counter(), 0, collections.Counter()
        for line in report.splitlines():
            found = SAMPLE.match(line)
            if not found:
                continue
            comm, symbol = found.groups()
            if comm in MACHINES or comm.startswith("microvm@"):
                continue
            samples[comm] += 1
            if tool_of(comm):
                functions[f"{comm} {symbol}"] += 1
                hashing += "sha256" in symbol
        total = sum(samples.values())
        tools = sum(n for comm, n in samples.items() if tool_of(comm)) - hashing
        lines = [f"{n / FREQUENCY:8.3f} s  {name}" for name, n in samples.most_common(25)]
        lines += [f"{n / FREQUENCY:8.3f} s  {name}" for name, n in functions.most_common(25)]
        return self.Share(100 * tools / total, 100 * hashing / total, total / FREQUENCY, lines)


class MemoryMeter:
    """The largest sum of PSS of our tools' processes alive at once, looked at every 50 ms."""

    def __init__(self, host):
        self.programs = f"{host.dir}/usr/bin/"
        self.peak_mib = 0.0
        self.lines = []
        self.done = threading.Event()
        self.thread = None

    def start(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def stop(self):
        self.done.set()
        self.thread.join()

    def look(self):
        while not self.done.wait(LOOK_S):
            seen = collections.defaultdict(list)
            for entry in glob.glob("/proc/[0-9]*"):
                try:
                    program = os.readlink(f"{entry}/exe")
                    if program.startswith(self.programs):
                        with open(f"{entry}/smaps_rollup", encoding="utf-8") as file:
                            kib = sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
                        seen[os.path.basename(program)].append(kib)
                except OSError:
                    pass
            mib = sum(map(sum, seen.values())) / 1024
            if mib > self.peak_mib:
                self.peak_mib = mib
                self.lines = [f"{sum(kib) / 1024:8.1f} MiB  {len(kib):3} x {program}" for program, kib in seen.items()]
