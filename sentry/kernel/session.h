// Sessions, process groups and the controlling terminal, as setsid(2), setpgid(2) and tcsetpgrp(3) see them.
//
// A terminal implementation (sentry/fs/tty) is any RefCounted object; which session it controls, and which group of it is in the foreground,
// is kept here. The functions at the end are all that it needs.
// Thread safety: objects are guarded by Kernel::tree_mu_; the functions at the end may be called from any thread holding no lock of kernel/.
#pragma once

#include <vector>

#include "abi/signal.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"

namespace rampart::kernel {

class Kernel;
class Task;
class ThreadGroup;

class Session final : public RefCounted {
 public:
  explicit Session(abi::Pid id) : id_(id) {}
  abi::Pid id() const { return id_; }

 private:
  friend class Kernel;
  friend class ThreadGroup;
  friend struct TerminalOps;
  const abi::Pid id_;
  // All guarded by Kernel::tree_mu_.
  int groups_ = 0;                     // process groups in it
  RefPtr<RefCounted> terminal_;        // the controlling terminal
  abi::Pid foreground_ = 0;            // its foreground process group; 0: none
  abi::Pid orphaned_foreground_ = 0;   // the group that was in the foreground when the leader lost the terminal
};

class ProcessGroup final : public RefCounted {
 public:
  ProcessGroup(abi::Pid id, Ref<Session> session) : id_(id), session_(std::move(session)) {}
  abi::Pid id() const { return id_; }
  const Ref<Session>& session() const { return session_; }

 private:
  friend class Kernel;
  friend class ThreadGroup;
  friend struct TerminalOps;
  const abi::Pid id_;
  const Ref<Session> session_;
  std::vector<ThreadGroup*> members_;  // zombies included; guarded by Kernel::tree_mu_
};

// --- For terminals.

// The terminal that `/dev/tty` means for the task's process: null when it has none (ENXIO).
RefPtr<RefCounted> ControllingTerminal(const ThreadGroup& group);
// The foreground process group of the process's controlling terminal; -1 without one.
abi::Pid ForegroundGroupOf(const ThreadGroup& group);
// TIOCSCTTY and opening a terminal without O_NOCTTY: makes `terminal` the controlling terminal of the task's session, with its group in the
// foreground. EPERM: not a session leader, it has a terminal already, or the terminal controls another session and `steal` is not set
// or not allowed. Idempotent for the same terminal.
Result<void> AcquireTerminal(Task& task, Ref<RefCounted> terminal, bool steal);
// TIOCNOTTY: gives up the controlling terminal; by the session leader for the whole session (SIGHUP and SIGCONT to the foreground group).
// ENOTTY when `terminal` is not the task's.
Result<void> ReleaseTerminal(Task& task, RefCounted& terminal);
// The terminal is gone (its other side hung up): SIGHUP and SIGCONT to the session's leader and foreground group; nobody has it any more.
void HangUpTerminal(Kernel& kernel, RefCounted& terminal);
// TIOCGPGRP and TIOCSPGRP, TIOCGSID. ENOTTY when `terminal` is not the caller's. Set: EPERM when the group is in another session, ESRCH when
// there is no such group, EINVAL (negative).
Result<abi::Pid> ForegroundGroup(Task& task, RefCounted& terminal);
Result<void> SetForegroundGroup(Task& task, RefCounted& terminal, abi::Pid pgid);
Result<abi::Pid> TerminalSession(Task& task, RefCounted& terminal);
// The same for whoever holds the terminal's other side: 0 when it controls no session; ENOTTY.
abi::Pid ForegroundOfTerminal(Kernel& kernel, const RefCounted& terminal);
Result<abi::Pid> SessionOfTerminal(Kernel& kernel, const RefCounted& terminal);
// A signal typed at the terminal (^C, ^Z, window size) to its foreground group. False: the terminal controls no session.
bool SignalForeground(Kernel& kernel, RefCounted& terminal, int signo);
// What a process in the background may do. kRead: SIGTTIN, or EIO when that is blocked, ignored or the group is orphaned. kWrite (only with
// TOSTOP) and kControl (tcsetattr and friends): SIGTTOU; allowed when that is blocked or ignored; EIO when the group is orphaned.
// Ok when in the foreground or when it is not the caller's terminal; kERESTARTSYS when the signal was sent: the call begins anew after it.
enum class TerminalAccess { kRead, kWrite, kControl };
Result<void> CheckTerminalAccess(Task& task, RefCounted& terminal, TerminalAccess access);
// The refusing half of it, for a task that is known to be in the background. `orphaned`: nobody could continue its group.
Result<void> RefuseBackground(Task& task, TerminalAccess access, bool orphaned);

}  // namespace rampart::kernel
