#include "runner/monitor/supervisor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "base/log.h"
#include "runner/monitor/kernel_log.h"

namespace rampart::runner {
namespace {

using sentry::boot::ControlMessage;
using sentry::boot::ControlType;
using sentry::boot::SignalTarget;
using sentry::boot::StartFailure;
using sentry::boot::StatsReport;

constexpr Nanos kTimeoutGrace = 2 * kNanosPerSecond;  // between SIGTERM and the end, when the time is up

void Kill(const Child& child) { ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0); }

Death Reap(const Child& child) {
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED) != 0) {
    if (errno != EINTR) return {};
  }
  return {info.si_code != CLD_EXITED, info.si_status};
}

bool HasEnded(const Child& child) {
  pollfd fd{child.pidfd.get(), POLLIN, 0};
  return ::poll(&fd, 1, 0) == 1;
}

class Supervisor {
 public:
  Supervisor(const Watched& watched, CallerSignals& signals) : watched_(watched), signals_(signals) {}

  Outcome Run() {
    while (!done_) Step();
    Finish();
    return std::move(outcome_);
  }

 private:
  enum : size_t { kSignals, kControl, kSentry, kGofer, kGoferReport, kStats, kSources };

  void Step() {
    pollfd fds[kSources] = {{signals_.fd(), POLLIN, 0},
                            {watched_.control_fd, POLLIN, 0},
                            {watched_.sentry.pidfd.get(), POLLIN, 0},
                            {watched_.gofer.pidfd.get(), POLLIN, 0},
                            {gofer_report_open_ ? watched_.gofer_report_fd : -1, POLLIN, 0},
                            {stats_open_ ? watched_.stats_fd : -1, POLLIN, 0}};
    if (control_closed_) fds[kControl].fd = -1;
    const Nanos remaining = deadline_.Remaining();
    timespec wait{remaining / kNanosPerSecond, remaining % kNanosPerSecond};
    if (::ppoll(fds, kSources, deadline_.never() ? nullptr : &wait, nullptr) < 0 && errno != EINTR) {
      Log(LogLevel::kError, "poll: %s", std::strerror(errno));
      done_ = true;
      return;
    }
    if (fds[kSignals].revents != 0) HandleSignals();
    if (fds[kControl].revents != 0) ReadControl();
    if (fds[kGoferReport].revents != 0) ReadGoferReport();
    if (fds[kStats].revents != 0) ReadStats();
    if (fds[kSentry].revents != 0) SentryEnded();
    if (!done_ && fds[kGofer].revents != 0) GoferEnded();
    if (!done_ && deadline_.Passed()) TimeIsUp();
  }

  void HandleSignals() {
    while (const auto info = signals_.Next()) {
      const int signo = static_cast<int>(info->ssi_signo);
      if (signo == SIGCHLD) continue;
      if (!started_) {
        const bool ends = signo == SIGINT || signo == SIGTERM || signo == SIGHUP || signo == SIGQUIT;
        if (ends && !signals_.IsIgnored(signo) && !decided_) {
          Decide(Outcome::Kind::kInterrupted);
          outcome_.death = {true, signo};
          done_ = true;
        } else if (signo == SIGTSTP) {
          signals_.StopSelf(signo);
        }
        continue;
      }
      // The terminal's signals are for the foreground group inside; what somebody sent to us is for the program that we stand for.
      Send(signo, info->ssi_code == SI_KERNEL ? SignalTarget::kForeground : SignalTarget::kFirstProcess);
    }
  }

  void Send(int signo, SignalTarget target) {
    SendMessage({.type = ControlType::kSignal, .value = static_cast<uint32_t>(signo), .detail = static_cast<uint32_t>(target)});
  }

  void SendMessage(const ControlMessage& message) {
    if (::send(watched_.control_fd, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      Log(LogLevel::kDebug, "a message (%u, %u) could not be passed on: %s", static_cast<unsigned>(message.type), message.value, std::strerror(errno));
    }
  }

  // False when there is nothing more for now.
  bool ReadControl() {
    ControlMessage message;
    const ssize_t n = ::recv(watched_.control_fd, &message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);
    if (n <= 0) {
      if (n == 0 || (errno != EAGAIN && errno != EINTR)) control_closed_ = true;
      return false;
    }
    if (n != static_cast<ssize_t>(sizeof(message)) || message.text_length > sentry::boot::kControlTextBytes) {
      Log(LogLevel::kWarning, "a malformed control message from the sentry (%zd bytes) was dropped", n);
      return true;
    }
    Handle(message);
    return true;
  }

  void Handle(const ControlMessage& message) {
    switch (message.type) {
      case ControlType::kStarted:
        if (started_ || decided_) return;
        started_ = true;
        if (watched_.timeout > 0) deadline_ = Deadline::After(watched_.timeout);
        return;
      case ControlType::kStartFailed:
        if (started_ || decided_) return;
        // A sentry whose gofer could not start only knows that it does not answer.
        if (gofer_report_open_) ReadGoferReport();
        Decide(gofer_text_.empty() ? Outcome::Kind::kStartFailed : Outcome::Kind::kGoferDied);
        outcome_.failure = static_cast<StartFailure>(message.value);
        outcome_.error = static_cast<int>(message.detail);
        outcome_.text.assign(message.text, message.text_length);
        done_ = true;
        return;
      case ControlType::kStopped:
        if (!started_ || decided_ || message.value == 0 || message.value > 64) return;
        orphaned_ = !signals_.StopSelf(static_cast<int>(message.value));
        // A terminal stops nobody whom nobody would continue: the program goes on as well.
        if (orphaned_) Send(SIGCONT, SignalTarget::kFirstProcess);
        return;
      case ControlType::kTerminalQuestion:
        Answer();
        return;
      case ControlType::kExited:
        if (!started_ || decided_) return;
        Decide(timed_out_ ? Outcome::Kind::kTimedOut : Outcome::Kind::kExited);
        outcome_.wait_status = static_cast<int>(message.value);
        outcome_.memory_kills = message.detail;
        done_ = true;  // the last word of a sentry: statistics are written, files too
        return;
      case ControlType::kContinued:
        return;
      case ControlType::kSignal:
      case ControlType::kTerminalAnswer:
        break;
    }
    Log(LogLevel::kWarning, "a control message of type %u from the sentry was dropped", static_cast<unsigned>(message.type));
  }

  void Answer() {
    using sentry::boot::TerminalPlace;
    const bool foreground = watched_.terminal == nullptr || watched_.terminal->InForeground();
    const TerminalPlace place = foreground ? TerminalPlace::kForeground : orphaned_ ? TerminalPlace::kOrphaned : TerminalPlace::kBackground;
    SendMessage({.type = ControlType::kTerminalAnswer, .value = static_cast<uint32_t>(place)});
  }

  void ReadGoferReport() {
    char text[512];
    const ssize_t n = ::recv(watched_.gofer_report_fd, text, sizeof(text), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    gofer_report_open_ = false;
    if (n > 0) gofer_text_.assign(text, static_cast<size_t>(n));
  }

  void ReadStats() {
    if (stats_.size() <= sizeof(StatsReport)) {
      char block[16384];
      const ssize_t n = ::read(watched_.stats_fd, block, sizeof(block));
      if (n > 0) {
        stats_.insert(stats_.end(), block, block + n);
        return;
      }
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    }
    stats_open_ = false;
  }

  void SentryEnded() {
    done_ = true;
    while (ReadControl()) {
    }
    if (decided_) return;
    // The sentry cannot live without the gofer: if that is gone too, it may have been the first to go.
    if (gofer_report_open_ && watched_.gofer_report_fd >= 0) ReadGoferReport();
    if (HasEnded(watched_.gofer)) {
      const Death gofer = Reap(watched_.gofer);
      gofer_reaped_ = true;
      if (gofer.by_signal || gofer.value != 0) {
        Decide(Outcome::Kind::kGoferDied);
        outcome_.death = gofer;
        return;
      }
    }
    Decide(timed_out_ ? Outcome::Kind::kTimedOut : Outcome::Kind::kSentryDied);
  }

  void GoferEnded() {
    // A sentry that has just gone is the reason, not the result.
    if (ReadControl() && decided_) return;
    if (HasEnded(watched_.sentry)) return SentryEnded();
    if (gofer_report_open_ && watched_.gofer_report_fd >= 0) ReadGoferReport();
    outcome_.death = Reap(watched_.gofer);
    gofer_reaped_ = true;
    Decide(Outcome::Kind::kGoferDied);
    done_ = true;
  }

  void TimeIsUp() {
    if (decided_ || timed_out_) {
      if (!decided_) Decide(Outcome::Kind::kTimedOut);
      done_ = true;
      return;
    }
    timed_out_ = true;
    Send(SIGTERM, SignalTarget::kFirstProcess);
    Send(SIGCONT, SignalTarget::kFirstProcess);
    deadline_ = Deadline::After(kTimeoutGrace);
  }

  void Decide(Outcome::Kind kind) {
    decided_ = true;
    outcome_.kind = kind;
  }

  void Finish() {
    // Both at once: the end of each waits for a grace period of RCU, in which its mounts go.
    Kill(watched_.sentry);
    Kill(watched_.gofer);
    const Death sentry = Reap(watched_.sentry);
    if (!gofer_reaped_) Reap(watched_.gofer);
    if (outcome_.kind == Outcome::Kind::kSentryDied) {
      outcome_.death = sentry;
      if (sentry.by_signal && sentry.value == SIGSYS) outcome_.violation = Violation(watched_.sentry.pid);
    }
    if (outcome_.kind == Outcome::Kind::kGoferDied) {
      outcome_.text = gofer_text_;
      if (outcome_.death.by_signal && outcome_.death.value == SIGSYS) outcome_.violation = Violation(watched_.gofer.pid);
    }
    while (stats_open_) ReadStats();
    if (stats_.size() == sizeof(StatsReport)) {
      std::memcpy(&outcome_.stats, stats_.data(), sizeof(StatsReport));
      outcome_.have_stats = outcome_.stats.magic == StatsReport::kMagic;
    }
  }

  static long Violation(pid_t pid) {
    const auto number = FindSeccompViolation(pid);
    return number.has_value() ? static_cast<long>(*number) : -1;
  }

  const Watched& watched_;
  CallerSignals& signals_;
  Outcome outcome_;
  Deadline deadline_ = Deadline::Never();
  std::vector<char> stats_;
  std::string gofer_text_;
  bool started_ = false;
  bool decided_ = false;  // outcome_.kind is final
  bool done_ = false;
  bool timed_out_ = false;
  bool orphaned_ = false;  // the last stop did not happen: our process group is orphaned
  bool control_closed_ = false;
  bool gofer_reaped_ = false;
  bool gofer_report_open_ = watched_.gofer_report_fd >= 0;
  bool stats_open_ = watched_.stats_fd >= 0;
};

}  // namespace

Outcome Supervise(const Watched& watched, CallerSignals& signals) { return Supervisor(watched, signals).Run(); }

}  // namespace rampart::runner
