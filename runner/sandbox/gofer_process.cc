#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "gofer/server/config.h"
#include "runner/namespaces/mounts.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"
#include "runner/sandbox/gofer_policy.h"
#include "runner/seccomp/install.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// The directory /proc/self/fd as a mount of its own, whose ".." leads nowhere: through the plain directory one could walk up into the host's
// /proc. Invalid when there is none to be had; the server can do without.
UniqueFd OpenOwnDescriptors() {
  // Without AT_RECURSIVE: what is mounted elsewhere in /proc stays there.
  return UniqueFd(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
}

absl::StatusOr<gofer::GoferConfig> ConfineGofer(const GoferChild& config) {
  gofer::GoferConfig server;
  gofer::PrepareGofer(server);
  server.proc_self_fd = OpenOwnDescriptors();
  LabelChange labels = TRY_STATUS(LabelChange::Prepare(config.labels));
  std::vector<Export> exports;
  for (const GoferExport& tree : config.exports) exports.push_back({tree.path, tree.readonly, tree.tree});
  std::vector<UniqueFd> roots = TRY_STATUS(EnterExportsRoot(exports, config.become_root));
  for (size_t i = 0; i < roots.size(); ++i) {
    gofer::AttachPoint point;
    point.name = config.exports[i].name;
    point.root = std::move(roots[i]);
    point.read_only = config.exports[i].readonly;
    server.attach_points.push_back(std::move(point));
  }
  gofer::GoferChannel channel;
  channel.fd = UniqueFd(config.channel_fd);
  server.channels.push_back(std::move(channel));
  ::prctl(PR_SET_NAME, "gofer");
  TRY_STATUS(Confine(config.keep));
  TRY_STATUS(std::move(labels).Carry());
  seccomp::PrimeAllocator();
  const auto installed = seccomp::Install(GoferPolicy(/*host_sockets=*/false));
  if (!installed.ok()) return SystemError("install the seccomp filter (does the host's kernel have CONFIG_SECCOMP_FILTER?)", installed.error());
  return server;
}

}  // namespace

int GoferMain() {
  const auto bytes = ReceiveConfig("gofer");
  if (!bytes.ok()) {
    ::dprintf(2, "%s: %s\n", kGoferName, std::string(bytes.status().message()).c_str());
    return 125;
  }
  const auto config = DecodeGofer(*bytes);
  absl::Status status = config.status();
  if (status.ok()) {
    SetLogging(2, static_cast<LogLevel>(config->log_level), "gofer");
    auto server = ConfineGofer(*config);
    if (server.ok()) {
      ::close(kReportFd);
      return gofer::ServeGofer(*std::move(server));
    }
    status = server.status();
  }
  const std::string text(status.message());
  ::send(kReportFd, text.data(), std::min<size_t>(text.size(), 500), MSG_NOSIGNAL);
  return 125;
}

}  // namespace rampart::runner
