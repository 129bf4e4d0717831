#include "runner/runsc/oom_notice.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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
// What the group may have beyond what it has. More than this process itself has: of small groups the kernel kills whoever has most, whatever their scores.
constexpr int64_t kRoom = int64_t{8} << 20;
constexpr int kPatienceMs = 10'000;
constexpr int kAttempts = 20;
constexpr int kNotices = 2;
constexpr Nanos kLook = 2 * kNanosPerMilli;                // between two looks at what has been read
constexpr Nanos kUntilStarted = 10000 * kNanosPerMilli;   // engines on a machine that has no time for them are that slow
constexpr Nanos kUntilWatched = 3000 * kNanosPerMilli;     // from there: by then an engine watches, or none does
constexpr Nanos kUntilRead = 10000 * kNanosPerMilli;
// Where nothing tells what an engine has heard: how much longer than a process takes to be killed it may take. On a busy machine both are slow.
constexpr Nanos kHeadStart = 10;
constexpr Nanos kLeast = 500 * kNanosPerMilli, kMost = 3000 * kNanosPerMilli;

std::string ReadAt(const UniqueFd& fd) {
  char text[64];
  const ssize_t n = ::pread(fd.get(), text, sizeof(text), 0);
  return n > 0 ? std::string(absl::StripAsciiWhitespace({text, static_cast<size_t>(n)})) : "";
}

bool WriteAt(const UniqueFd& fd, const std::string& text) { return ::pwrite(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()); }

bool SetScore(int proc, const char* score) {
  const UniqueFd file(::openat(proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  return file.valid() && WriteAt(file, score);
}

// In a child: first in the kernel's choice of whom to kill. Says when it is ready, and waits for the word.
[[noreturn]] void AskForTooMuch(int proc, int parent) {
  char word = 0;
  if (!SetScore(proc, "1000") || ::send(parent, &word, 1, MSG_NOSIGNAL) != 1 || ::recv(parent, &word, 1, 0) != 1) ::_exit(1);
  (void)::mmap(nullptr, kTooMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ::_exit(0);
}

void Pause(Nanos nanos) {
  const timespec time{static_cast<time_t>(nanos / kNanosPerSecond), static_cast<long>(nanos % kNanosPerSecond)};
  ::nanosleep(&time, nullptr);
}

}  // namespace

OomNotice OomNotice::Open(const std::vector<ContainerGroup>& groups, bool limited) {
  OomNotice out;
  for (const ContainerGroup& group : groups) {
    if (!group.v2 && group.controller != "memory") continue;
    out.tells_ = !group.v2;
    out.limit_ = UniqueFd(::open(absl::StrCat(group.directory, group.v2 ? "/memory.max" : "/memory.limit_in_bytes").c_str(), O_RDWR | O_CLOEXEC));
    out.usage_ = UniqueFd(::open(absl::StrCat(group.directory, group.v2 ? "/memory.current" : "/memory.usage_in_bytes").c_str(), O_RDONLY | O_CLOEXEC));
    if (out.limit_.valid()) break;
  }
  out.proc_ = UniqueFd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!out.tells_ || !limited) return out;
  // Who creates the container ends soon, and leaves this process to the one that started it.
  const pid_t engine = ParentOf(out.proc_.get(), absl::StrCat(ParentOf(out.proc_.get(), "self")));
  if (const auto known = EventDescriptorsOf(out.proc_.get(), engine); known.has_value()) {
    for (const auto& [id, unread] : *known) out.old_.insert(id);
    const std::vector<pid_t> children = ChildrenOf(out.proc_.get(), engine);
    out.elders_.insert(children.begin(), children.end());
  }
  return out;
}

OomNotice::Answer OomNotice::Ask(const std::string& limit) const {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return Answer::kNone;
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const auto child = CloneChild(0, [&] {
    ::close(ours.get());
    AskForTooMuch(proc_.get(), theirs.get());
  });
  if (!child.ok()) return Answer::kNone;
  theirs.Reset();
  // While there is little room, only the child may want more: who else does, might be killed in its place.
  char word = 0;
  int64_t used = 0;
  int ready = 0;
  if (::recv(ours.get(), &word, 1, 0) == 1 && absl::SimpleAtoi(ReadAt(usage_), &used) && WriteAt(limit_, absl::StrCat(used + kRoom))) {
    ::send(ours.get(), &word, 1, MSG_NOSIGNAL);
    pollfd ended{child->pidfd.get(), POLLIN, 0};
    while ((ready = ::poll(&ended, 1, kPatienceMs)) < 0 && errno == EINTR) {
    }
    if (!WriteAt(limit_, limit)) Log(LogLevel::kDebug, "the memory limit of the container's group stays lowered");
  }
  ::syscall(SYS_pidfd_send_signal, child->pidfd.get(), SIGKILL, nullptr, 0);
  int status = 0;
  while (::waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ready <= 0) return Answer::kNone;
  return WIFSIGNALED(status) ? Answer::kKilled : Answer::kGranted;
}

OomNotice::Answer OomNotice::AskUntilKilled(Nanos& took) const {
  const std::string limit = ReadAt(limit_);
  // What the sandbox had is given back little by little: what was too much a moment ago may fit now.
  Answer answer = Answer::kGranted;
  for (int attempt = 0; attempt < kAttempts && answer == Answer::kGranted; ++attempt) {
    const Nanos begun = MonotonicNow();
    answer = Ask(limit);
    took = MonotonicNow() - begun;
  }
  return answer;
}

void OomNotice::Started(const std::string& id) {
  if (!tells_) return;
  for (const pid_t child : ChildrenOf(proc_.get(), Parent())) {
    if (elders_.contains(child)) continue;
    const std::vector<std::string> words = WordsOf(proc_.get(), child);
    const auto has = [&](const std::string& word) { return std::find(words.begin(), words.end(), word) != words.end(); };
    // A dead one has no words: it may be that which was quicker than we are.
    if (words.empty() || (has("start") && has(id))) starters_.push_back(child);
  }
}

bool OomNotice::AwaitStarters() const {
  const Deadline patience = Deadline::After(kUntilStarted);
  const auto unseen = [&](pid_t starter) { return ParentOf(proc_.get(), absl::StrCat(starter)) == Parent(); };  // dead or not
  while (std::any_of(starters_.begin(), starters_.end(), unseen)) {
    if (patience.Passed()) return false;
    Pause(kLook);
  }
  return true;
}

std::optional<EventDescriptors> OomNotice::NewDescriptors() const {
  auto all = EventDescriptorsOf(proc_.get(), Parent());
  if (all.has_value()) std::erase_if(*all, [&](const auto& one) { return old_.contains(one.first); });
  return all;
}

OomNotice::Listener OomNotice::AwaitListener() const {
  if (!tells_ || !AwaitStarters()) return Listener::kUnknown;
  const Deadline patience = Deadline::After(kUntilWatched);
  for (;;) {
    const auto descriptors = NewDescriptors();
    if (!descriptors.has_value()) return Listener::kUnknown;
    if (!descriptors->empty()) return Listener::kReads;
    if (patience.Passed() || starters_.empty()) return Listener::kAbsent;
    Pause(kLook);
  }
}

bool OomNotice::AwaitRead() const {
  const Deadline patience = Deadline::After(kUntilRead);
  for (;;) {
    const auto descriptors = NewDescriptors();
    if (!descriptors.has_value()) return false;
    if (std::none_of(descriptors->begin(), descriptors->end(), [](const auto& one) { return one.second; })) return true;
    if (patience.Passed()) return false;
    Pause(kLook);
  }
}

void OomNotice::Give() const {
  if (!limit_.valid() || !usage_.valid() || !proc_.valid()) return;
  (void)SetScore(proc_.get(), "-1000");  // where one may: our end is the container's, which has a status of its own
  const Listener listener = AwaitListener();
  for (int notice = 0; notice < kNotices; ++notice) {
    Nanos took = 0;
    const bool given = AskUntilKilled(took) == Answer::kKilled;
    if (given && listener == Listener::kUnknown) Pause(std::clamp(kHeadStart * took, kLeast, kMost));
    const bool read = listener == Listener::kReads && AwaitRead();  // what was not seen to be given may have been
    if (!given || !read) break;
  }
}

}  // namespace rampart::runner
