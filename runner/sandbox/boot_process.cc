#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "platform/registry/registry.h"
#include "runner/namespaces/mounts.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"
#include "runner/seccomp/install.h"
#include "runner/util/status.h"
#include "sentry/boot/control.h"
#include "sentry/boot/seccomp_table.h"

namespace rampart::runner {
namespace {

using sentry::boot::ControlMessage;
using sentry::boot::ControlType;
using sentry::boot::StartFailure;

bool Send(ControlType type, uint32_t value, const std::string& text = "") {
  ControlMessage message{.type = type, .value = value};
  message.text_length = static_cast<uint32_t>(std::min<size_t>(text.size(), sizeof(message.text)));
  std::memcpy(message.text, text.data(), message.text_length);
  iovec part{&message, sizeof(message)};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  return ::sendmsg(kReportFd, &header, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(message));
}

absl::Status ConfineSentry(const SentryChild& config) {
  if (!config.processors.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int processor : config.processors) CPU_SET(static_cast<size_t>(processor), &set);
    if (::sched_setaffinity(0, sizeof(set), &set) != 0) return SystemError("choose processors");
  }
  platform::PreparePlatforms(config.boot.platform.empty() ? "auto" : config.boot.platform);
  LabelChange labels = TRY_STATUS(LabelChange::Prepare(config.labels));
  TRY_STATUS(EnterEmptyRoot());
  if (config.change_user) TRY_STATUS(BecomeUser(config.host_uid, config.host_gid, /*drop_groups=*/true));
  // A change of user makes a process undumpable, and then it may not trace its own children.
  if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return SystemError("become traceable to myself");
  ::prctl(PR_SET_NAME, "sentry");
  TRY_STATUS(Confine(/*keep=*/0));
  return std::move(labels).Carry();
}

std::string InstallFilter(const platform::PlatformInfo& platform) {
  const auto installed = sentry::boot::InstallSentryFilter(sentry::boot::SentryPolicy(platform));
  if (installed.ok()) return "";
  return std::string(SystemError("install the seccomp filter (does the host's kernel have CONFIG_SECCOMP_FILTER?)", installed.error()).message());
}

// In place of a kernel: see SelfTest.
int RunSelfTest(const SentryChild& config) {
  if (!sentry::boot::InstallSentryFilter(sentry::boot::BasePolicy()).ok()) return 1;
  Send(ControlType::kStarted, 0);
  if (config.self_test == SelfTest::kViolate) ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  for (;;) {
    ControlMessage message;
    iovec part{&message, sizeof(message)};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t n = ::recvmsg(kReportFd, &header, 0);
    if (n != static_cast<ssize_t>(sizeof(message))) return 1;
    if (message.type != ControlType::kSignal) continue;
    Send(ControlType::kExited, message.value);  // as if that signal had ended the program
    return 0;
  }
}

}  // namespace

int BootMain() {
  const auto bytes = ReceiveConfig("sentry");
  if (!bytes.ok()) {
    ::dprintf(2, "%s: %s\n", kBootName, std::string(bytes.status().message()).c_str());
    return 125;
  }
  auto config = DecodeSentry(*bytes);
  absl::Status status = config.status();
  if (status.ok()) {
    SetLogging(config->boot.log_fd, static_cast<LogLevel>(config->boot.log_level), "sentry");
    status = ConfineSentry(*config);
  }
  if (!status.ok()) {
    return Send(ControlType::kStartFailed, static_cast<uint32_t>(StartFailure::kSandbox),
                absl::StrCat("the sentry could not be confined: ", status.message()))
               ? 0
               : 1;
  }
  if (config->self_test != SelfTest::kOff) return RunSelfTest(*config);
  seccomp::PrimeAllocator();  // before RunSandbox makes threads
  return sentry::boot::RunSandbox(config->boot, {.confine = InstallFilter});
}

}  // namespace rampart::runner
