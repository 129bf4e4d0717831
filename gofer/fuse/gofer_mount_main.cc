// gofer-mount: mounts a directory through a Gofer, or what an already running Gofer exports.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "gofer/fuse/fuse_mount.h"
#include "gofer/server/config.h"

namespace rampart::gofer {
namespace {

constexpr char kUsage[] =
    "usage: gofer-mount [-r] DIRECTORY MOUNTPOINT    serve DIRECTORY by a Gofer of its own (-r: read-only)\n"
    "       gofer-mount --fd N [NAME] MOUNTPOINT     what the Gofer behind the SEQPACKET socket N exports (as NAME)\n"
    "Ends when it is unmounted (umount MOUNTPOINT) or interrupted.\n";

// A child process that serves `directory`; returns our end of its channel.
Result<UniqueFd> StartGofer(const char* directory, bool read_only) {
  AttachPoint point;
  point.root = TRY(FdFromHost(::open(directory, O_PATH | O_CLOEXEC)));
  point.read_only = read_only;
  auto pair = TRY(MakeSocketPair(SocketKind::kSeqPacket));
  const pid_t child = ::fork();
  if (child < 0) return ErrnoFromHost(errno);
  if (child > 0) return std::move(pair[0]);
  ::prctl(PR_SET_NAME, "gofer");
  pair[0].Reset();
  GoferConfig config;
  config.channels.push_back({std::move(pair[1]), SocketKind::kSeqPacket});
  config.attach_points.push_back(std::move(point));
  PrepareGofer(config);
  std::exit(ServeGofer(std::move(config)));
}

int Fail(const char* what, Errno error) {
  std::fprintf(stderr, "gofer-mount: %s: %s\n", what, ErrnoText(error));
  return 1;
}

int Run(Result<UniqueFd> socket, const char* from, const std::string& attach, const char* where) {
  if (!socket.ok()) return Fail(from, socket.error());
  auto client = Client::Connect(std::move(*socket), {.max_lanes = 8});
  if (!client.ok()) return Fail("the Gofer", client.error());
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto mount = FuseMount::Create(std::move(*client), where, {.attach = attach, .allow_other = ::geteuid() == 0});
  if (!mount.ok()) return Fail(where, mount.error());
  std::thread([&signals, &mount] {
    int signal = 0;
    sigwait(&signals, &signal);
    (*mount)->Stop();
  }).detach();
  (*mount)->Serve();
  mount->reset();
  std::_Exit(0);  // the thread above may still wait
}

int Main(int argc, char** argv) {
  SetLogging(2, LogLevel::kWarning, "gofer-mount");
  if (argc >= 4 && std::strcmp(argv[1], "--fd") == 0 && argc <= 5) {
    char* end = nullptr;
    const long fd = std::strtol(argv[2], &end, 10);
    if (*argv[2] == '\0' || *end != '\0' || fd < 0 || fd > 1 << 20) {
      std::fprintf(stderr, "gofer-mount: --fd: '%s' is not a descriptor's number\n", argv[2]);
      return 2;
    }
    return Run(UniqueFd(static_cast<int>(fd)), argv[2], argc == 5 ? argv[3] : "", argv[argc - 1]);
  }
  const bool read_only = argc == 4 && std::strcmp(argv[1], "-r") == 0;
  if ((argc != 3 && !read_only) || argv[1][0] == '\0' || (argv[1][0] == '-' && !read_only)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const char* directory = argv[argc - 2];
  return Run(StartGofer(directory, read_only), directory, "", argv[argc - 1]);
}

}  // namespace
}  // namespace rampart::gofer

int main(int argc, char** argv) { return rampart::gofer::Main(argc, argv); }
