#include "runner/runsc/oom_notice.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "runner/namespaces/clone.h"

namespace rampart::runner {
namespace {

constexpr size_t kTooMuch = size_t{32} << 20;
constexpr int64_t kRoom = int64_t{1} << 20;  // what the group may have beyond what it has
constexpr int kPatienceMs = 2000;
constexpr int kAttempts = 20;
constexpr long kHeadStartNanos = 500'000'000;

std::string ReadAt(const UniqueFd& fd) {
  char text[64];
  const ssize_t n = ::pread(fd.get(), text, sizeof(text), 0);
  return n > 0 ? std::string(absl::StripAsciiWhitespace({text, static_cast<size_t>(n)})) : "";
}

bool WriteAt(const UniqueFd& fd, const std::string& text) { return ::pwrite(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()); }

// In a child: first in the kernel's choice of whom to kill.
[[noreturn]] void AskForTooMuch(int proc) {
  const int score = ::openat(proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score < 0 || ::write(score, "1000", 4) != 4) ::_exit(1);
  (void)::mmap(nullptr, kTooMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ::_exit(0);
}

}  // namespace

OomNotice OomNotice::Open(const std::vector<ContainerGroup>& groups) {
  OomNotice out;
  for (const ContainerGroup& group : groups) {
    if (!group.v2 && group.controller != "memory") continue;
    out.limit_ = UniqueFd(::open(absl::StrCat(group.directory, group.v2 ? "/memory.max" : "/memory.limit_in_bytes").c_str(), O_RDWR | O_CLOEXEC));
    out.usage_ = UniqueFd(::open(absl::StrCat(group.directory, group.v2 ? "/memory.current" : "/memory.usage_in_bytes").c_str(), O_RDONLY | O_CLOEXEC));
    if (out.limit_.valid()) break;
  }
  out.proc_ = UniqueFd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  return out;
}

OomNotice::Answer OomNotice::Ask() const {
  int64_t used = 0;
  if (!absl::SimpleAtoi(ReadAt(usage_), &used) || !WriteAt(limit_, absl::StrCat(used + kRoom))) return Answer::kNone;
  const auto child = CloneChild(0, [&] { AskForTooMuch(proc_.get()); });
  if (!child.ok()) return Answer::kNone;
  pollfd ended{child->pidfd.get(), POLLIN, 0};
  int ready = 0;
  while ((ready = ::poll(&ended, 1, kPatienceMs)) < 0 && errno == EINTR) {
  }
  ::syscall(SYS_pidfd_send_signal, child->pidfd.get(), SIGKILL, nullptr, 0);
  int status = 0;
  while (::waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ready <= 0) return Answer::kNone;
  return WIFSIGNALED(status) ? Answer::kKilled : Answer::kGranted;
}

void OomNotice::Give() const {
  if (!limit_.valid() || !usage_.valid() || !proc_.valid()) return;
  const std::string before = ReadAt(limit_);
  // What the sandbox had is given back little by little: what was too much a moment ago may fit now.
  Answer answer = Answer::kGranted;
  for (int attempt = 0; attempt < kAttempts && answer == Answer::kGranted; ++attempt) answer = Ask();
  if (answer == Answer::kKilled) {
    // Engines hear of it, and of the container's end that follows, in two ways: the first should have arrived.
    const timespec pause{0, kHeadStartNanos};
    ::nanosleep(&pause, nullptr);
  }
  if (!WriteAt(limit_, before)) Log(LogLevel::kDebug, "the memory limit of the container's group stays lowered");
}

}  // namespace rampart::runner
