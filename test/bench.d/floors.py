"""What git and Nix alone need for the same."""
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from host import run

NIX_CONFIG = """
experimental-features = nix-command flakes
build-users-group =
builders =
build-hook = /run/build-remote
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin/sh=/bin/busybox
substituters =
flake-registry =
eval-cache = false
max-jobs = auto
cores = 0
warn-dirty = false
"""


class PlainGit:
    """A bare repository behind the same sshd: the same uid by another name, whose shell is a shell."""

    def __init__(self, host):
        self.host = host
        self.name = f"{host.prefix}-plain"
        self.repos = f"{host.dir}/plain"
        self.count = 0

    def up(self):
        host = self.host
        self.down()
        run(["useradd", "--non-unique", "--uid", str(host.uid), "--gid", host.tenant, "--groups", f"{host.prefix}-tenants",
             "--no-create-home", "--home-dir", f"{host.dir}/home", "--shell", "/bin/sh", "--password", "*", self.name])
        shutil.copy(f"{host.dir}/id_alice.pub", f"{host.dir}/etc/keys/{self.name}")
        with open(f"{host.dir}/etc/sshd_config", "a", encoding="utf-8") as file:
            file.write(f"Match User {self.name}\nForceCommand none\n")
        with open(f"{host.dir}/ssh_config", "a", encoding="utf-8") as file:
            file.write(f"Host sky-plain\n    HostName 127.0.0.1\n    Port {host.port}\n    User {self.name}\n"
                       f"    IdentityFile {host.dir}/id_alice\n    IdentitiesOnly yes\n"
                       f"    UserKnownHostsFile {host.dir}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
                       "    BatchMode yes\n")
        os.kill(host.sshd(), 1)  # SIGHUP: read the configuration again
        shutil.rmtree(self.repos, ignore_errors=True)
        os.makedirs(self.repos)
        os.chown(self.repos, host.uid, -1)
        time.sleep(1)

    def down(self):
        subprocess.run(["userdel", "-f", self.name], check=False, capture_output=True)

    def push(self, work, machines, fresh=False):
        """Seconds of `git push`; fresh: to a new repository, which is made before."""
        if fresh:
            self.count += 1
            run(["setpriv", "--reuid", str(self.host.uid), "--regid", str(self.host.uid), "--clear-groups",
                 "git", "init", "-q", "--bare", f"{self.repos}/{self.count}.git"])
        begin = time.monotonic()
        work.git("push", f"sky-plain:{self.repos}/{self.count}.git", *(f"main:{machine}" for machine in machines))
        return time.monotonic() - begin


def cell(host, store, work, tmp):
    """sky-build's cell by hand: see cell_argv."""
    root = host.config["cell"]["root"]
    argv = ["setpriv", "--reuid", str(host.uid), "--regid", str(host.uid), "--clear-groups"]
    with open("/proc/net/route", encoding="utf-8") as routes:
        if any(line.split()[1] == line.split()[7] == "00000000" for line in routes):
            argv += [host.config["programs"]["pasta"], "--config-net", "-q", "-f", "-t", "none", "-u", "none", "-T", "none",
                     "-U", "none", "--no-map-gw", "--"]
            net = []
        else:
            net = ["--unshare-net"]
    argv += [host.config["programs"]["bwrap"], "--unshare-user", "--uid", "1000", "--gid", "100", "--unshare-pid",
             "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", *net]
    for name in os.listdir(root):
        if name != "etc":
            argv += ["--ro-bind", f"{root}/{name}", f"/{name}"]
    argv += ["--ro-bind", f"{root}/etc/ssl", "/etc/ssl", "--ro-bind", f"{tmp}/passwd", "/etc/passwd",
             "--bind", store, "/nix", "--tmpfs", "/home", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev",
             "--symlink", "/bin/nix", "/run/build-remote", "--ro-bind", work, "/inputs/source",
             "--ro-bind", host.config["cell"]["guest"], "/inputs/guest",
             "--ro-bind", host.config["cell"]["customization"], "/inputs/customization.nix"]
    for name, path in host.config["cell"]["inputs"].items():
        argv += ["--ro-bind", path, f"/inputs/{name}"]
    return argv + ["--clearenv", "--setenv", "HOME", "/home", "--setenv", "USER", "nix", "--setenv", "PATH", "/bin",
                   "--setenv", "NIX_REMOTE", "local", "--setenv", "NIX_CONFIG", NIX_CONFIG, "--chdir", "/tmp", "--"]


def nix_build(host, work, identities, deployments, at_once):
    """Seconds that `nix build` needs for the machines of a push, `at_once` at a time, from an empty store. The flake
    has its inputs locked already."""
    top = f"{host.dir}/floor"
    run(["rm", "-rf", "--one-file-system", top])
    for directory in ("nix", "tmp"):
        os.makedirs(f"{top}/{directory}")
        os.chown(f"{top}/{directory}", host.uid, host.uid)
    with open(f"{top}/tmp/passwd", "w", encoding="utf-8") as file:
        file.write("nix:x:1000:100:nix:/home:/bin/sh\n")
    shutil.copytree(work.path, f"{top}/source", ignore=shutil.ignore_patterns(".git"))
    enter = cell(host, f"{top}/nix", f"{top}/source", f"{top}/tmp")
    hash_of = {name: run([*enter, "/bin/nix", "hash", "path", f"/inputs/{name}"]).strip() for name in ("nixpkgs", "microvm")}
    lock(f"{top}/source/flake.lock", hash_of["nixpkgs"])
    run(["rm", "-rf", "--one-file-system", f"{top}/nix/store", f"{top}/nix/var"])
    run([*enter, "/bin/nix", "store", "ping"])  # two that make a new store at once stumble over each other
    os.sync()

    def build(machine):
        microvm = f"path:/inputs/microvm?narHash={hash_of['microvm'].replace('+', '%2B').replace('=', '%3D')}"
        expression = f"""(import /inputs/guest).deploy {{
            flake = builtins.getFlake "path:/inputs/source"; machine = "{machine}"; identity = {identities[machine]};
            microvm = builtins.getFlake "{microvm}"; customization = /inputs/customization.nix; }}"""
        run([*enter, "/bin/nix", "build", "--no-link", "--impure", "--expr", expression])

    begin = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(build, deployments))
    seconds = time.monotonic() - begin
    for machine, deployment in deployments.items():
        if not os.path.exists(f"{top}{deployment}"):
            raise SystemExit(f"bench: error: the floor built another {machine} than the push ({deployment})")
    run(["rm", "-rf", "--one-file-system", top])
    os.sync()
    return seconds


def lock(file, nar_hash):
    tree = {"type": "path", "path": "/inputs/nixpkgs"}
    text = {"version": 7, "root": "root", "nodes": {
        "root": {"inputs": {"nixpkgs": "nixpkgs"}},
        "nixpkgs": {"locked": {**tree, "narHash": nar_hash},
                    "original": {"type": "indirect", "id": "nixpkgs"}}}}
    with open(file, "w", encoding="utf-8") as out:
        json.dump(text, out)
