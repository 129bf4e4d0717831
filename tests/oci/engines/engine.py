"""What the tests of engines share: a scratch directory, small images, checks by name, and proof that nothing is left behind.

A test starts the engine's daemon privately: its data, sockets, cgroups and a copy of runsc are all beneath one scratch directory, and it runs in mount
and network namespaces of the test's (dockerd turns IPv6 off in whatever network it finds itself). The test makes itself the reaper of whatever the
daemons leave (PR_SET_CHILD_SUBREAPER), so at its end every process that is still its child is a leak.
"""
import contextlib
import ctypes
import glob
import io
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

SKIP = 77
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
SLOW = 8 if "WITH_KVM" in os.environ else 1
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # the engines of Debian's packages, not what else is called docker on a machine


class Failed(Exception):
    """A check that found something else than it expects."""


class Skipped(Exception):
    """A check that cannot be made here, with the reason."""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def reference(runtime):
    """The checks hold for runc, too; that is looked at when they are written, and whenever it is asked for."""
    if runtime == "runc" and "RAMPART_REFERENCE" not in os.environ:
        skip("runc's run is only for comparison: RAMPART_REFERENCE=1 makes it")


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=PATH):
            skip(f"{program} is not installed (./dev setup --engines)")


def expect(actual, expected, what=""):
    if actual != expected:
        raise Failed(f"{what + ': ' if what else ''}expected {expected!r}, found {actual!r}")


def expect_in(part, text, what=""):
    if part not in text:
        raise Failed(f"{what + ': ' if what else ''}{part!r} is not in {text!r}")


def wait_for(what, condition, seconds=20):
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds * SLOW} s for {what}")
        time.sleep(.05)


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def ok(self, out=None):
        """Exit status 0 and, if given, this output."""
        if self.status != 0 or (out is not None and self.out != out):
            raise Failed(f"expected status 0{'' if out is None else f' and {out!r}'}, found {self}")
        return self

    def fails(self, status, part=""):
        if self.status != status or part not in self.err + self.out:
            raise Failed(f"expected status {status} and {part!r}, found {self}")
        return self

    def __repr__(self):
        return f"status {self.status}, stdout {self.out[-1500:]!r}, stderr {self.err[-1500:]!r}"


def run(command, stdin=b"", env=None, timeout=60, **more):
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **more)
    try:
        out, err = process.communicate(stdin, timeout=timeout * SLOW)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Failed(f"{' '.join(map(str, command))} took more than {timeout * SLOW} s: {out[-500:]!r} {err[-500:]!r}") from None
    return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class Terminal:
    """A command on a terminal of ours, as a person would use it."""

    def __init__(self, command, env=None, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.execvpe(str(command[0]), [str(c) for c in command], env or os.environ)
            os._exit(127)
        self.text = ""
        self.resize(rows, columns)

    def resize(self, rows, columns):
        import fcntl
        import termios
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return None
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.text += data.decode(errors="replace")
        return data

    def until(self, part, seconds=30):
        """Reads until `part` appears; what came before and with it is taken away."""
        deadline = time.monotonic() + seconds * SLOW
        while part not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or self.read(left) == b"":
                raise Failed(f"{part!r} did not appear on the terminal, which shows {self.text[-800:]!r}")
        at = self.text.index(part) + len(part)
        seen, self.text = self.text[:at], self.text[at:]
        return seen

    def ask(self, command, answer, seconds=30):
        """Types a command to a shell; `answer` must not occur in it."""
        self.type(command + "\n")
        return self.until(answer, seconds)

    def end(self, seconds=30):
        """Its exit status, when it has ended by itself."""
        deadline = time.monotonic() + seconds * SLOW
        while time.monotonic() < deadline:
            if self.read(.05) == b"":
                time.sleep(.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise Failed(f"the command on the terminal did not end; it shows {self.text[-800:]!r}")


# ---------------------------------------------------------------------------------------------------------------------------
# Images

def small_root(directory):
    """A root file system of busybox: a shell and what belongs to it. The user sandbox is 1000:1000."""
    busybox = shutil.which("busybox", path=PATH)
    root = pathlib.Path(directory)
    for part in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/sandbox", "var/empty", "run"):
        (root / part).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in run([busybox, "--list"]).ok().out.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000::/home/sandbox:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nsandbox:x:1000:\nextra:x:2000:\n")
    (root / "etc/image").write_text("the small image\n")
    (root / "tmp").chmod(0o1777)
    os.chown(root / "home/sandbox", 1000, 1000) if os.getuid() == 0 else None
    return root


def python_root(directory):
    """The small root with the host's Python: its program, libraries, and most of its standard library."""
    root = small_root(directory)
    program = os.path.realpath("/usr/bin/python3")
    version = os.path.basename(program)
    library = pathlib.Path("/usr/lib", version)
    wanted = {program}
    for line in run(["ldd", program]).ok().out.splitlines():
        wanted.update(word for word in line.split() if word.startswith("/"))
    for extension in glob.glob(f"{library}/lib-dynload/*.so"):
        if os.path.basename(extension).startswith(("_json", "_queue", "_multiprocessing", "_posixsubprocess", "math", "select")):
            wanted.add(extension)
    for path in wanted:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    skipped = shutil.ignore_patterns("__pycache__", "test", "tests", "lib2to3", "idlelib", "pydoc_data", "ensurepip", "lib-dynload", "config-*", "*.a")
    shutil.copytree(library, root / str(library).lstrip("/"), ignore=skipped, dirs_exist_ok=True)
    (root / "usr/bin/python3").symlink_to(version)
    return root


def archive(root, target):
    """The root as a tar, for `docker import` and its like."""
    with tarfile.open(target, "w") as tar:
        tar.add(root, arcname=".")
    return target


def docker_archive(root, target, name, command=("/bin/sh",), environment=()):
    """The root as `docker save` writes an image: what ctr and podman load."""
    import hashlib
    layer = str(target) + ".layer"
    archive(root, layer)
    digest = hashlib.sha256(pathlib.Path(layer).read_bytes()).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
                         "config": {"Cmd": list(command), "Env": [f"PATH={PATH}", *environment]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as tar:
        for member, data in (("config.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, arcname="layer.tar")
    os.unlink(layer)
    return target


# ---------------------------------------------------------------------------------------------------------------------------
# What is left

def reap():
    """Our children that live: pid and command line."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    out = []
    for task in glob.glob("/proc/self/task/*/children"):
        for pid in pathlib.Path(task).read_text().split():
            with contextlib.suppress(OSError):
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
                if state != "Z":
                    out.append(f"{pid} {pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')[:200]}")
    return out


def users_of(directory):
    """Processes whose program lies beneath the directory."""
    out = []
    for exe in glob.glob("/proc/[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if os.readlink(exe).startswith(f"{directory}/"):
                out.append(f"{exe.split('/')[2]} {pathlib.Path(exe).with_name('comm').read_text().strip()}")
    return out


def mounts_beneath(directory):
    return [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4].startswith(f"{directory}/")]


def cgroup_directories(name):
    """Directories of this name, of every hierarchy."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if " - cgroup" in line and os.path.isdir(f"{fields[4]}/{name}"):
            found.append(f"{fields[4]}/{name}")
    return found


def remove_cgroup(name):
    """Removes the (empty) tree of this name; returns what held out or was not empty."""
    left = []
    for top in cgroup_directories(name):
        for directory, subdirectories, _ in os.walk(top, topdown=False):
            if directory != top and os.path.basename(directory) != "conmon":  # Podman leaves those
                left.append(directory)
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if os.path.isdir(top):
            left.append(top)
    return left


# ---------------------------------------------------------------------------------------------------------------------------

class Engine:
    """A scratch directory, whose end proves that nothing is left. Subclasses start daemons in it."""

    def __init__(self, runsc, name):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"rampart-{name}-", dir="/var/tmp"))
        self.scratch.chmod(0o755)
        self.cgroup = self.scratch.name
        self.runsc = self.scratch / "runsc"
        shutil.copy(runsc, self.runsc)
        self.processes = []
        self.messages = []
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.enter_namespaces()
        self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `finally` runs

    def enter_namespaces(self):
        if self.libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 or self.libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
            self.remove()
            skip(f"no namespaces of one's own are to be had here: {os.strerror(ctypes.get_errno())}")
        import fcntl
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))

    def start(self, command, log, env=None):
        with open(self.scratch / log, "ab") as out:
            process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.scratch, env=env,
                                       preexec_fn=lambda: self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
        self.processes.append((process, log))
        return process

    def stop(self):
        """Ends the daemons. Returns what they left."""
        for process, log in reversed(self.processes):
            process.terminate()
            try:
                process.wait(30 * SLOW)
            except subprocess.TimeoutExpired:
                self.messages.append(f"{process.args[0]} did not end")
                process.kill()
                process.wait()
        left = [*self.messages]
        with contextlib.suppress(Failed):
            wait_for("processes to end", lambda: not reap() and not users_of(self.scratch), 10)
        left += [f"process {one}" for one in {*reap(), *users_of(self.scratch)}]
        for line in reap():
            with contextlib.suppress(OSError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        left += [f"mount {one}" for one in mounts_beneath(self.scratch)]
        for mount in reversed(mounts_beneath(self.scratch)):
            run(["umount", "-l", mount])
        left += [f"cgroup {one}" for one in remove_cgroup(self.cgroup)]
        return left

    def logs(self, lines=25):
        out = []
        for _, log in self.processes:
            text = (self.scratch / log).read_text(errors="replace").splitlines()
            out += [f"--- {log}", *[line for line in text[:-lines] if "level=error" in line or "failed to delete" in line], *text[-lines:]]
        return "\n".join(out)

    def remove(self):
        shutil.rmtree(self.scratch, ignore_errors=True)


CHECKS = []


def check(function):
    """Marks a function as a check; its name is the check's."""
    CHECKS.append(function)
    return function


def main(make_engine, checks=None):
    """Runs all checks, or those named in RAMPART_CHECKS (comma-separated). Returns the exit status."""
    wanted = os.environ.get("RAMPART_CHECKS")
    failures = 0
    engine = make_engine()
    try:
        for function in checks or CHECKS:
            name = function.__name__
            if wanted and name not in wanted.split(","):
                continue
            start = time.monotonic()
            try:
                function(engine)
                print(f"ok       {name} ({time.monotonic() - start:.1f} s)", flush=True)
            except Skipped as reason:
                print(f"skipped  {name}: {reason}", flush=True)
            except Failed as failure:
                failures += 1
                print(f"FAILED   {name} ({time.monotonic() - start:.1f} s): {failure}", flush=True)
            except Exception:  # a check that itself is faulty must not hide what the daemons leave
                failures += 1
                print(f"FAILED   {name}: {traceback.format_exc()}", flush=True)
            engine.after_check()
    finally:
        left = engine.stop()
    if failures or left:
        print(engine.logs())
    for line in left:
        print(f"LEFT     {line}")
    if "RAMPART_KEEP" in os.environ:
        print(f"kept: {engine.scratch}")
    else:
        engine.remove()
    print(f"{failures} failed, {len(left)} left behind")
    return 1 if failures or left else 0
