#include "runner/monitor/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
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

// Signals that came before the program had started and do not end the wait for it: they are for the program.
struct EarlySignal {
  int signo;
  SignalTarget target;
};
constexpr size_t kMostEarly = 128;

// The terminal's signals are for the foreground group inside; what somebody sent to us is for the program that we stand for.
SignalTarget TargetOf(const signalfd_siginfo& info) {
  return info.ssi_code == SI_KERNEL ? SignalTarget::kForeground : SignalTarget::kFirstProcess;
}

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
  enum : size_t { kSignals, kControl, kSentry, kGofer, kGoferReport, kStats, kListener, kLifeline, kSources };

  void Step() {
    pollfd fds[kSources] = {{signals_.fd(), POLLIN, 0},
                            {watched_.control_fd, POLLIN, 0},
                            {watched_.sentry.pidfd.get(), POLLIN, 0},
                            {watched_.gofer.pidfd.get(), POLLIN, 0},
                            {gofer_report_open_ ? watched_.gofer_report_fd : -1, POLLIN, 0},
                            {stats_open_ ? watched_.stats_fd : -1, POLLIN, 0},
                            {ready_ ? watched_.container.listen_fd : -1, POLLIN, 0},
                            {committed_ ? -1 : watched_.container.lifeline_fd, POLLIN, 0}};
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
    if (fds[kListener].revents != 0) AcceptClient();
    if (fds[kLifeline].revents != 0) ReadLifeline();
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
        } else if (early_.size() < kMostEarly) {
          early_.push_back({signo, TargetOf(*info)});
        }
        continue;
      }
      Send(signo, TargetOf(*info));
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

  // A client's connection goes to the sentry, which has no accept call. What it does not read in time is dropped.
  void AcceptClient() {
    const UniqueFd client(::accept4(watched_.container.listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) return;
    ::fcntl(client.get(), F_SETFL, 0);  // the sentry has a thread for it
    const timeval patience{10, 0};      // a client that does not read holds up nobody for longer
    ::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ControlMessage message{.type = ControlType::kConnection};
    iovec part{&message, sizeof(message)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = client.get();
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
    if (::sendmsg(watched_.control_fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      Log(LogLevel::kWarning, "a client was turned away: %s", std::strerror(errno));
    }
  }

  void ReadLifeline() {
    char byte = 0;
    const ssize_t n = ::recv(watched_.container.lifeline_fd, &byte, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    committed_ = true;
    if (n == 1 || decided_) return;
    Decide(Outcome::Kind::kAbandoned);
    done_ = true;
  }

  void BecomeReady() {
    if (ready_ || decided_) return;
    ready_ = true;
    if (watched_.container.ready) {
      const absl::Status status = watched_.container.ready();
      if (!status.ok()) {
        Decide(Outcome::Kind::kAbandoned);
        outcome_.text = std::string(status.message());
        done_ = true;
        return;
      }
    }
    if (watched_.container.start_at_once) SendMessage({.type = ControlType::kStart});
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
        if (watched_.container.started) watched_.container.started();
        for (const EarlySignal& early : std::exchange(early_, {})) Send(early.signo, early.target);
        return;
      case ControlType::kReady:
        return BecomeReady();
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
        if (watched_.container.listen_fd >= 0) return;  // nobody's job: whoever watches a container asks it
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
      case ControlType::kConnection:
      case ControlType::kStart:
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

  long Violation(pid_t pid) const {
    const auto number = FindSeccompViolation(pid, kernel_log_);
    return number.has_value() ? static_cast<long>(*number) : -1;
  }

  const Watched& watched_;
  CallerSignals& signals_;
  const UniqueFd kernel_log_ = OpenKernelLog();
  Outcome outcome_;
  Deadline deadline_ = Deadline::Never();
  std::vector<char> stats_;
  std::string gofer_text_;
  std::vector<EarlySignal> early_;
  bool started_ = false;
  bool ready_ = false;      // a container that can be started
  bool committed_ = false;  // whoever created it is done
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
