#include "runner/monitor/caller_signals.h"

#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr int kSignals = 64;
// Synchronous errors of our own, what cannot be caught, and SIGPIPE (a failed write says the same).
constexpr int kNotForwarded[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE};

sigset_t Forwarded() {
  sigset_t set;
  sigfillset(&set);
  for (const int signo : kNotForwarded) sigdelset(&set, signo);
  return set;
}

}  // namespace

absl::StatusOr<CallerSignals> CallerSignals::Take() {
  CallerSignals out;
  const sigset_t forwarded = Forwarded();
  sigset_t inherited;
  if (::sigprocmask(SIG_BLOCK, &forwarded, &inherited) != 0) return SystemError("block signals");
  for (int signo = 1; signo <= kSignals; ++signo) {
    if (sigismember(&inherited, signo) == 1) out.blocked_ |= uint64_t{1} << (signo - 1);
    struct sigaction action {};
    if (::sigaction(signo, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) out.ignored_ |= uint64_t{1} << (signo - 1);
  }
  ::signal(SIGPIPE, SIG_IGN);
  // A caller that ignores SIGCHLD would make our children vanish before we can ask how they ended.
  ::signal(SIGCHLD, SIG_DFL);
  out.fd_ = UniqueFd(::signalfd(-1, &forwarded, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!out.fd_.valid()) return SystemError("make a signalfd");
  return out;
}

std::optional<signalfd_siginfo> CallerSignals::Next() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) return std::nullopt;
  return info;
}

void CallerSignals::ResetInChild() {
  for (int signo = 1; signo <= kSignals; ++signo) ::signal(signo, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool CallerSignals::StopSelf(int signo) {
  if (signo != SIGTSTP && signo != SIGTTIN && signo != SIGTTOU) signo = SIGSTOP;
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signo);
  // The terminal's driver stops the whole job when one of its processes reads in the background.
  const bool whole_job = signo == SIGTTIN || signo == SIGTTOU;
  ::kill(whole_job ? 0 : ::getpid(), signo);
  // Delivered here; execution goes on after SIGCONT. An orphaned process group is not stopped by the terminal's signals, as in Linux.
  if (signo != SIGSTOP) {
    ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
    ::sigprocmask(SIG_BLOCK, &only, nullptr);
    // What ended the stop is still in the queue: SIGCONT is blocked.
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    return sigismember(&pending, SIGCONT) == 1;
  }
  return true;
}

}  // namespace rampart::runner
