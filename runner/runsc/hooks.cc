#include "runner/runsc/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/time.h"
#include "runner/monitor/caller_signals.h"
#include "runner/namespaces/clone.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr size_t kMostText = 2048;  // of what a hook says

absl::StatusOr<UniqueFd> StateFile(const std::string& state) {
  UniqueFd fd(::memfd_create("rampart-state", MFD_CLOEXEC));
  if (!fd.valid() || !WriteAll(fd.get(), state) || ::lseek(fd.get(), 0, SEEK_SET) != 0) return SystemError("pass the state to a hook");
  return fd;
}

[[noreturn]] void Execute(const oci::Hook& hook, int in, int err, absl::Span<const ForeignNamespace> home) {
  CallerSignals::ResetInChild();
  ::dup2(in, 0);
  ::dup2(err, 1);
  ::dup2(err, 2);
  for (const ForeignNamespace& ns : home) {
    if (EnterNamespace(ns).ok()) continue;
    ::dprintf(2, "cannot be run in the runtime's namespaces: %s", std::strerror(errno));
    ::_exit(127);
  }
  ::syscall(SYS_close_range, 3, ~0u, 0);
  std::vector<char*> argv;
  std::vector<char*> env;
  for (const std::string& arg : hook.args) argv.push_back(const_cast<char*>(arg.c_str()));
  if (argv.empty()) argv.push_back(const_cast<char*>(hook.path.c_str()));
  for (const std::string& variable : hook.env) env.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  env.push_back(nullptr);
  ::execve(hook.path.c_str(), argv.data(), env.data());
  ::dprintf(2, "cannot be executed: %s", std::strerror(errno));
  ::_exit(127);
}

// Reads what it says until it is done. False: its time is over.
bool Watch(const Child& child, int from, Deadline deadline, std::string& text) {
  for (bool open = true;;) {
    pollfd fds[2] = {{child.pidfd.get(), POLLIN, 0}, {open ? from : -1, POLLIN, 0}};
    const Nanos remaining = deadline.Remaining();
    const timespec wait{remaining / kNanosPerSecond, remaining % kNanosPerSecond};
    const int ready = ::ppoll(fds, 2, deadline.never() ? nullptr : &wait, nullptr);
    if (ready == 0) return false;
    if (fds[1].revents != 0) {
      char block[1024];
      const ssize_t n = ::read(from, block, sizeof(block));
      if (n <= 0) open = false;
      if (n > 0 && text.size() < kMostText) text.append(block, static_cast<size_t>(n));
      continue;
    }
    if (fds[0].revents != 0) return true;
  }
}

absl::Status RunHook(const oci::Hook& hook, const std::string& name, const std::string& state, absl::Span<const ForeignNamespace> home) {
  const UniqueFd in = TRY_STATUS(StateFile(state));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return SystemError("make a pipe");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const Child child = TRY_STATUS(CloneChild(0, [&] { Execute(hook, in.get(), to.get(), home); }));
  to.Reset();
  std::string text;
  const Deadline deadline = hook.timeout.has_value() ? Deadline::After(*hook.timeout * kNanosPerSecond) : Deadline::Never();
  const bool in_time = Watch(child, from.get(), deadline, text);
  if (!in_time) ::kill(child.pid, SIGKILL);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) return absl::DeadlineExceededError(absl::StrCat(name, " ('", hook.path, "') took longer than its ", *hook.timeout, " s"));
  if (status == 0) return absl::OkStatus();
  const std::string how = WIFSIGNALED(status) ? absl::StrCat("was ended by signal ", WTERMSIG(status)) : absl::StrCat("ended with status ", WEXITSTATUS(status));
  return UsageError(absl::StrCat(name, " ('", hook.path, "') ", how, text.empty() ? "" : ": ", text));
}

bool HasHooks(const oci::Hooks& hooks) {
  return !(hooks.prestart.empty() && hooks.create_runtime.empty() && hooks.create_container.empty() && hooks.poststart.empty() && hooks.poststop.empty());
}

bool LooksForNamespaces(const oci::Hooks& hooks) { return !(hooks.prestart.empty() && hooks.create_runtime.empty() && hooks.create_container.empty()); }

// Those that a process enters itself, and whose contents are somebody else's business.
int Flag(const std::string& type) { return type == "network" ? CLONE_NEWNET : type == "uts" ? CLONE_NEWUTS : type == "ipc" ? CLONE_NEWIPC : 0; }

}  // namespace

absl::Status RunHooks(const std::vector<oci::Hook>& hooks, const char* kind, const std::string& state, absl::Span<const ForeignNamespace> home) {
  for (size_t i = 0; i < hooks.size(); ++i) TRY_STATUS(RunHook(hooks[i], absl::StrCat("the hook $.hooks.", kind, "[", i, "]"), state, home));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ForeignNamespace>> HomeOfHooks(const oci::Spec& spec) {
  std::vector<ForeignNamespace> out;
  if (!HasHooks(spec.hooks)) return out;
  for (const oci::Namespace& ns : spec.linux_config.namespaces) {
    const bool left = !ns.path.empty() || (LooksForNamespaces(spec.hooks) && Flag(ns.type) != 0);
    if (left && ns.type != "pid" && ns.type != "user" && ns.type != "time") out.push_back(TRY_STATUS(OwnNamespace(ns.type)));
  }
  return out;
}

absl::Status MakeNamespacesForHooks(const oci::Spec& spec, bool may_lack) {
  if (!LooksForNamespaces(spec.hooks)) return absl::OkStatus();
  int flags = 0;
  for (const oci::Namespace& ns : spec.linux_config.namespaces) flags |= ns.path.empty() ? Flag(ns.type) : 0;
  if (flags == 0) return absl::OkStatus();
  if (::unshare(flags) != 0) return may_lack && errno == EPERM ? absl::OkStatus() : SystemError("make namespaces");
  const std::string& name = spec.hostname;
  if ((flags & CLONE_NEWUTS) != 0 && !name.empty() && ::sethostname(name.data(), name.size()) != 0) return SystemError("set the host name");
  return absl::OkStatus();
}

bool IsInNetworkOfContainer(const oci::Spec& spec) {
  const auto& all = spec.linux_config.namespaces;
  return std::any_of(all.begin(), all.end(), [&](const oci::Namespace& ns) { return ns.type == "network" && (!ns.path.empty() || LooksForNamespaces(spec.hooks)); });
}

}  // namespace rampart::runner
