"""Bundles and an OCI runtime's commands, for the tests of this directory. The same calls work for runc, so that what is asked of runsc is true of it first."""
import copy
import json
import os
import pathlib
import subprocess
import threading
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sandboxes"))
import isolated  # noqa: E402  (for the tests that import this)

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_SYS_CHROOT"]
BASE = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "cwd": "/",
        "capabilities": {kind: CAPS for kind in ("bounding", "effective", "permitted")}, "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True},
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        {"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")], "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]},
}


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"status {self.status}\n    stdout {self.out!r}\n    stderr {self.err!r}"


def shell(script):
    return ["/bin/sh", "-c", script]


class Runtime:
    def __init__(self, path, flags=(), work="/tmp/oci"):
        self.path, self.flags = path, list(flags)
        self.is_runc = os.path.basename(path) == "runc"
        self.work = pathlib.Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.count = 0

    def spec(self, args=("/bin/true",), **process):
        spec = copy.deepcopy(BASE)
        spec["process"].update(process, args=list(args))
        return spec

    def bundle(self, spec, name=None):
        """A directory with `spec` (a dict, or text for what is no JSON) and an own root."""
        self.count += 1
        place = self.work / (name or f"bundle{self.count}")
        for directory in ("usr", "etc", "proc", "dev", "tmp", "sys", "root"):
            (place / "rootfs" / directory).mkdir(parents=True, exist_ok=True)
        for link in ("bin", "sbin", "lib", "lib64"):
            if not (place / "rootfs" / link).is_symlink():
                (place / "rootfs" / link).symlink_to(f"usr/{link}")
        (place / "config.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))
        return place

    def command(self, *words, flags=()):
        return [self.path, "--root", str(self.work / "state"), *self.flags, *flags, *map(str, words)]

    def run(self, *words, stdin=b"", timeout=60, flags=(), **keywords):
        """A command of the runtime to its end. A container that it leaves behind must have other streams: see create()."""
        try:
            done = subprocess.run(self.command(*words, flags=flags), input=stdin, capture_output=True, timeout=timeout, check=False, **keywords)
        except subprocess.TimeoutExpired as expired:
            return Result("timeout", str(expired.stdout), str(expired.stderr))
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Result(status, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def leave(self, bundle, *words, stdin=subprocess.DEVNULL, **keywords):
        """A command that leaves something behind, whose output is in BUNDLE/out and BUNDLE/err."""
        with open(bundle / "out", "wb") as out, open(bundle / "err", "wb") as err:
            try:
                status = subprocess.run(self.command(*words), stdin=stdin, stdout=out, stderr=err, timeout=60, check=False, **keywords).returncode
            except subprocess.TimeoutExpired:
                status = "timeout"
        return Result(status, (bundle / "out").read_text(errors="replace"), (bundle / "err").read_text(errors="replace"))

    def create(self, bundle, name, *more, command="create", **keywords):
        return self.leave(bundle, command, "--bundle", bundle, *more, name, **keywords)

    def read(self, name):
        """What a hook has written to a file of the work directory; a state without a status if it has not."""
        path = self.work / name
        return path.read_text() if path.exists() else '{"status": null}'

    def state(self, name):
        result = self.run("state", name)
        return result.json() if result.status == 0 else None

    def status(self, name):
        state = self.state(name)
        return state["status"] if state else None

    def await_status(self, name, wanted, seconds=30):
        return await_true(lambda: self.status(name) == wanted, seconds)

    def names(self):
        state = self.work / "state"
        return sorted(p.name for p in state.iterdir()) if state.exists() else []


def reap():
    """Who lost their parents are ours to wait for: a PID namespace ends only when the last one who entered it has been waited for.
    Beside other threads only by name: they wait for their commands themselves, and would take one that has gone for a success."""
    if threading.active_count() > 1:
        for children in pathlib.Path("/proc/self/task").glob("*/children"):
            for pid in map(int, children.read_text().split()):
                try:
                    if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() not in ("runsc", "python3"):  # commands, and what is about to become one
                        os.waitpid(pid, os.WNOHANG)
                except (OSError, ValueError):
                    pass  # it has gone
        return
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def await_true(what, seconds=20):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        reap()
        time.sleep(0.02)
    return bool(what())


class Checks:
    """Collects what is wrong."""

    def __init__(self):
        self.faults = []

    def check(self, what, good, result=""):
        if not good:
            self.faults.append(f"{what}: {result}")

    def end(self, said):
        print("\n".join(self.faults) or said)
        return 1 if self.faults else 0


def enter(path):
    """In private namespaces; skipped where they cannot be had, or where `path` is no program."""
    if not os.path.exists(path):
        print(f"skipped: there is no {path} here")
        sys.exit(isolated.SKIP)
    if os.getuid() != 0:
        print("skipped: root is needed")
        sys.exit(isolated.SKIP)
    isolated.enter()
