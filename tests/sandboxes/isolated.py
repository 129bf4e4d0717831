"""A place of one's own to count in: re-executes the test in private PID, mount, IPC and network namespaces with empty /tmp, /var/tmp and /dev/shm,
and, as root, in cgroups of its own, so that what is left behind is ours and nobody else's. As an ordinary user in a user namespace.
"""
import os
import pathlib
import secrets
import subprocess
import sys
import time

PRIVATE = ("/tmp", "/var/tmp", "/dev/shm")
SKIP = 77


def _cgroup_homes():
    """The directories of this process's own groups with a controller that sandboxes use: v1, or v2 where that has them."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        unified = pathlib.Path(f"/sys/fs/cgroup{path}")
        if not names and "memory" in _words(unified / "cgroup.subtree_control") and os.access(unified, os.W_OK):
            yield unified
        for name in names.split(","):
            if name in ("memory", "pids", "cpu"):
                home = pathlib.Path(f"/sys/fs/cgroup/{names}{path}")
                if os.access(home, os.W_OK):
                    yield home


def _words(file):
    try:
        return file.read_text().split()
    except OSError:
        return []


def _enter_group(group):
    """Sandboxes make their groups in v1's own group, but beside a v2 one: there, in ours, we live one level deeper."""
    group.mkdir()
    if (group / "cgroup.controllers").exists():
        (group / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        group = group / "test"
        group.mkdir()
    (group / "cgroup.procs").write_text(str(os.getpid()))


def enter():
    """Returns in the private namespaces. Exits with 77 where they are not to be had."""
    if os.environ.get("RAMPART_ISOLATED") == "inside":
        for directory in PRIVATE:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "rampart-test", directory], check=True)
        os.chdir("/tmp")
        return
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--ipc", "--net"]
    if os.getuid() != 0:
        unshare += ["--user", "--map-current-user", "--keep-caps"]
    if subprocess.run(unshare + ["true"], capture_output=True, check=False).returncode != 0:
        print("skipped: unshare(1) cannot make namespaces here")
        sys.exit(SKIP)
    homes, name = [], f"rampart-test-{os.getpid()}-{secrets.token_hex(4)}"
    if os.getuid() == 0:
        for home in _cgroup_homes():
            group = home / name
            try:
                _enter_group(group)
                homes.append(group)
            except OSError:
                pass
    env = dict(os.environ, RAMPART_ISOLATED="inside", RAMPART_CGROUPS=":".join(map(str, homes)))
    # The argument 0 of the scripts is their path; they take absolute paths only.
    status = subprocess.run(unshare + [sys.executable] + sys.argv, env=env, check=False).returncode
    for group in homes:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        try:
            if (group / "test").exists():
                (group / "test").rmdir()
            group.rmdir()
        except OSError as error:
            print(f"left behind: {group}: {error}: {[p.name for p in group.iterdir() if p.is_dir()]}")
            status = status or 1
    sys.exit(status)


def processes():
    """Everybody in this PID namespace but us, our parents and zombies' empty shells that are about to go."""
    mine = {os.getpid(), os.getppid(), 1}
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in mine:
            try:
                found[int(entry.name)] = (entry / "stat").read_text().split(")")[1][:3] + (entry / "cmdline").read_text().replace("\0", " ")[:80]
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def snapshot():
    """What could be left behind, as text by kind."""
    groups = []
    for home in filter(None, os.environ.get("RAMPART_CGROUPS", "").split(":")):
        groups += [str(p) for p in pathlib.Path(home).iterdir() if p.is_dir()]
    files = {d: sorted(str(p) for p in pathlib.Path(d).rglob("*")) for d in PRIVATE}
    netns = sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []
    interfaces = sorted(os.listdir("/sys/class/net"))
    return {"processes": processes(), "mounts": pathlib.Path("/proc/self/mountinfo").read_text(), "cgroups": sorted(groups),
            "files": files, "network namespaces": netns, "interfaces": interfaces,
            "shared memory": subprocess.run(["ipcs", "-a"], capture_output=True, text=True, check=False).stdout}


def compare(before, patience=12.0):
    """What is there now and was not before, as lines; waits for what is on its way out."""
    end = time.monotonic() + patience
    while True:
        try:  # orphans are ours: this script is not the namespace's first process, but unshare's child is
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        now = snapshot()
        wrong = [f"left behind: {kind}: before {before[kind]!r}, now {now[kind]!r}" for kind in before if now[kind] != before[kind]]
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.05)
