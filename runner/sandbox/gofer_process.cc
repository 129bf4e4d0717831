#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "runner/namespaces/mounts.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

absl::StatusOr<std::vector<UniqueFd>> ConfineGofer(const GoferChild& config) {
  std::vector<Export> exports;
  for (const GoferExport& tree : config.exports) exports.push_back({tree.path, tree.readonly});
  std::vector<UniqueFd> roots = TRY_STATUS(EnterExportsRoot(exports));
  ::prctl(PR_SET_NAME, "gofer");
  TRY_STATUS(Confine(config.keep));
  return roots;
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
    const auto roots = ConfineGofer(*config);
    status = roots.status();
    if (status.ok()) {
      ::close(kReportFd);
      // The server is not part of this build yet: hold the trees until the channel closes.
      pollfd channel{config->channel_fd, POLLIN, 0};
      while (::poll(&channel, 1, -1) >= 0 && (channel.revents & POLLHUP) == 0) {
      }
      return 0;
    }
  }
  const std::string text(status.message());
  ::send(kReportFd, text.data(), std::min<size_t>(text.size(), 500), MSG_NOSIGNAL);
  return 125;
}

}  // namespace rampart::runner
