"""A private dockerd, with its data in a scratch directory, without networks (--bridge=none) and with the vfs storage driver."""
import contextlib
import json
import os

from engine import Engine, Failed, PATH, Terminal, archive, reap, run, small_root, wait_for


class Docker(Engine):
    def __init__(self, runsc, runtime):
        super().__init__(runsc, "docker")
        self.runtime = runtime
        self.ours = runtime == "runsc"
        self.env = {"PATH": PATH, "HOME": str(self.scratch), "DOCKER_HOST": f"unix://{self.scratch}/docker.sock", "TERM": "xterm", "LANG": "C.UTF-8"}
        (self.scratch / "daemon.json").write_text(json.dumps(self.settings()))
        self.start(["/usr/sbin/dockerd", "--config-file", self.scratch / "daemon.json"], "dockerd.log", {**os.environ, "PATH": PATH})
        wait_for("dockerd", lambda: self("version").status == 0, 60)
        self.load(small_root(self.scratch / "small"), "small")

    def settings(self):
        """daemon.json."""
        # What is copied in and out while a container runs is seen by both sides where neither keeps the root's files to itself.
        runtimes = {"runsc": {"path": str(self.runsc)}, "runsc-shared": {"path": str(self.runsc), "runtimeArgs": ["--overlay2=none", "--file-access=shared"]}}
        return {"runtimes": runtimes, "default-runtime": self.runtime, "data-root": f"{self.scratch}/data", "exec-root": f"{self.scratch}/exec",
                "pidfile": f"{self.scratch}/docker.pid", "hosts": [f"unix://{self.scratch}/docker.sock"], "iptables": False, "bridge": "none",
                "storage-driver": "vfs", "cgroup-parent": f"/{self.cgroup}", "live-restore": False}

    def __call__(self, *words, **more):
        return run(["docker", *words], env=self.env, **more)

    def load(self, root, name):
        self("import", archive(root, self.scratch / f"{name}.tar"), name).ok()

    def run(self, *words, **more):
        """docker run --rm, without a network, which there is none of here."""
        return self("run", "--rm", "--network=none", *words, **more)

    def sh(self, *words, **more):
        """The last word is a script for the small image's shell; those before are options."""
        return self.run(*words[:-1], "small", "sh", "-c", words[-1], **more)

    def background(self, *words):
        return self("run", "-d", "--network=none", *words).ok().out.strip()

    def script(self, *words):
        return self.background(*words[:-1], "small", "sh", "-c", words[-1])

    def state(self, container, field):
        return self("inspect", "-f", f"{{{{{field}}}}}", container).ok().out.strip()

    def wait_output(self, container, part, seconds=20):
        return wait_for(f"{part!r} in the logs", lambda: part in (r := self("logs", container)).out + r.err and r, seconds)

    def terminal(self, *words):
        return Terminal(["docker", *words], env=self.env)

    def after_check(self):
        # Those of --rm are removed by the daemon after their clients have gone: who removes them, too, meanwhile leaves half of them behind.
        with contextlib.suppress(Failed):
            wait_for("containers of --rm to go", lambda: "true" not in self.names("{{.HostConfig.AutoRemove}}"), 5)
        names = self.names("{{.Id}}")
        if names:
            self("rm", "-f", *names)

    def names(self, what):
        known = self("ps", "-aq").out.split()
        return self("inspect", "-f", what, *known).out.split() if known else []

    def stop(self):
        self.after_check()
        # A container of --rm is removed after its client has gone; a daemon that ends meanwhile leaves it as it is.
        with contextlib.suppress(Failed):
            wait_for("the last containers to go", lambda: not any("containerd-shim" in one for one in reap()))
        return super().stop()
