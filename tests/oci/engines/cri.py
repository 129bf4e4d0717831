"""As much of a client of the Kubernetes Container Runtime Interface (CRI, runtime.v1) as a pod needs: Debian has no crictl.

Messages are written as {field number: value}; a value is text, a number, a further such dict, or a list of them.
"""
import grpc


def varint(number):
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def encode(message):
    out = b""
    for field, value in message.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(field << 3) + varint(one)
            else:
                data = encode(one) if isinstance(one, dict) else one.encode()
                out += varint(field << 3 | 2) + varint(len(data)) + data
    return out


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def decode(data):
    """{field number: its last value}, a number or bytes."""
    out, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        out[key >> 3] = value
    return out


def table(entries):
    return [{1: key, 2: value} for key, value in entries.items()]


class Cri:
    CREATED, RUNNING, EXITED = 0, 1, 2
    CONTAINER = 1  # a namespace of its own

    def __init__(self, address):
        self.channel = grpc.insecure_channel(f"unix://{address}")

    def call(self, method, message):
        send = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}", request_serializer=encode, response_deserializer=decode)
        return send(message, timeout=120)

    def pod(self, name, handler, logs, cgroup, annotations=None):
        """Returns the sandbox's id, and its configuration."""
        config = {1: {1: name, 2: f"uid-{name}", 3: "default"}, 2: name, 3: str(logs), 7: table(annotations or {}),
                  8: {1: f"/{cgroup}", 2: {1: {2: self.CONTAINER}}}}
        return self.call("RunPodSandbox", {1: config, 2: handler})[1].decode(), config

    def create(self, sandbox, config, name, image, command, mounts=(), security=None, resources=None, env=None):
        container = {1: {1: name}, 2: {1: image}, 3: list(command), 6: table(env or {}), 7: [{1: inside, 2: str(host), 3: int(ro)} for host, inside, ro in mounts],
                     11: f"{name}.log", 15: {1: resources or {}, 2: {3: {2: self.CONTAINER}, **(security or {})}}}
        return self.call("CreateContainer", {1: sandbox, 2: container, 3: config})[1].decode()

    def start(self, container):
        self.call("StartContainer", {1: container})

    def status(self, container):
        """State and exit status."""
        status = decode(self.call("ContainerStatus", {1: container})[1])
        return status.get(3, 0), status.get(7, 0)

    def execute(self, container, *command):
        """Exit status, standard output and error."""
        answer = self.call("ExecSync", {1: container, 2: list(command), 3: 30})
        return answer.get(3, 0), answer.get(1, b"").decode(), answer.get(2, b"").decode()

    def stop(self, container, seconds=10):
        self.call("StopContainer", {1: container, 2: seconds})

    def remove(self, container):
        self.call("RemoveContainer", {1: container})

    def remove_pod(self, sandbox):
        self.call("StopPodSandbox", {1: sandbox})
        self.call("RemovePodSandbox", {1: sandbox})
