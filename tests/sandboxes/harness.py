"""Runs sentry-run for the tables of tests in this directory, and says what went wrong."""
import ctypes
import os
import signal
import struct
import subprocess
import time

NR = {"clone": 56, "ptrace": 101, "unshare": 272, "clone3": 435, "seccomp": 317, "mount": 165}
CLONE_NEWUSER = 0x10000000


def forbid(*calls, error=1):
    """For preexec_fn: a host on which these system calls fail with `error` (EPERM). "clone" only with CLONE_NEWUSER."""
    def stmt(code, k, jt=0, jf=0):
        return struct.pack("HBBI", code, jt, jf, k)
    code = [stmt(0x20, 0)]
    for call in calls:
        if call == "clone":
            code += [stmt(0x15, NR[call], 0, 4), stmt(0x20, 16), stmt(0x45, CLONE_NEWUSER, 0, 1), stmt(0x06, 0x50000 | error), stmt(0x20, 0)]
        else:
            code += [stmt(0x15, NR[call], 0, 1), stmt(0x06, 0x50000 | error)]
    code.append(stmt(0x06, 0x7FFF0000))
    text = b"".join(code)

    def install():
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(text, len(text))
        program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
        if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) != 0:
            os._exit(99)
    return install


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"status {self.status}\n    stdout {self.out!r}\n    stderr {self.err!r}"


def run(sentry_run, arguments, cwd="/tmp", preexec=None, signal_after=None, closed=(), env=None, stdin=b"", prefix=(), stdout=None, timeout=60):
    """Status as a shell shows it. `signal_after`: (seconds, signal) to send to sentry-run. `closed`: descriptors closed at its start."""
    def prepare():
        for fd in closed:
            os.close(fd)
        if preexec:
            preexec()
    process = subprocess.Popen([*prefix, sentry_run, *arguments], cwd=cwd, stdin=subprocess.PIPE, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE,
                               env=env, preexec_fn=prepare)
    if signal_after:
        time.sleep(signal_after[0])
        process.send_signal(signal_after[1])
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Result("timeout", (out or b"").decode(errors="replace"), err.decode(errors="replace"))
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Result(status, (out or b"").decode(errors="replace"), err.decode(errors="replace"))


def one_line(result, *parts):
    """What is wrong with the complaint, or "": exactly one line of sentry-run's, and in it every part."""
    lines = [line for line in result.err.split("\n") if line.startswith("sentry-run: ")]
    if len(lines) != 1:
        return f"{len(lines)} lines of sentry-run's instead of one"
    missing = [part for part in parts if part not in lines[0]]
    return f"{missing} not in: {lines[0]}" if missing else ""


# How many times slower than here a machine may be: in tools/with-kvm's, times that are short for a sandbox are too short to start in.
SLOW = 8 if "WITH_KVM" in os.environ else 1

SIGTERM, SIGINT, SIGHUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
