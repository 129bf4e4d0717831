// Arguments and answers of the operations that make, replace, end and await processes: Task::Clone, Task::Exec, Task::Wait.
// Values; no thread safety needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/process.h"
#include "abi/resource.h"
#include "abi/signal.h"
#include "abi/types.h"
#include "sentry/mm/user_ptr.h"
#include "sentry/vfs/fs_context.h"

namespace rampart::kernel {

class ThreadGroup;

// clone(2), clone3(2), fork(2), vfork(2).
struct CloneRequest {
  uint64_t flags = 0;                  // CLONE_… without the signal
  int exit_signal = 0;                 // 0: none
  UserAddr stack = 0;                  // the child's stack pointer; 0: as the parent's
  UserAddr tls = 0;                    // CLONE_SETTLS
  UserAddr parent_tid = 0;             // CLONE_PARENT_SETTID
  UserAddr child_tid = 0;              // CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
  UserAddr pidfd = 0;                  // CLONE_PIDFD
  std::vector<abi::Pid> set_tid;       // clone3: of the child's PID namespace first, then outwards
};

// execve(2), execveat(2).
struct ExecRequest {
  Ref<vfs::FileDescription> file;      // opened and checked (OpenForExec)
  std::string filename;                // for AT_EXECFN and scripts
  bool filename_unreachable = false;   // see loader::LoadArgs
  std::string name;                    // the new comm: last component of the path
  std::vector<std::string> argv, envp;
};

// wait4(2), waitid(2).
struct WaitRequest {
  int type = abi::kPAll;               // P_…
  abi::Pid id = 0;                     // of P_PID and P_PGID: the sandbox's number (Task::FromOwn)
  RefPtr<ThreadGroup> group;           // of P_PIDFD
  uint32_t options = 0;                // W…, with WEXITED explicit
};
struct WaitAnswer {
  abi::Pid pid = 0;                    // as the waiter sees it; 0: nothing yet (WNOHANG)
  int status = 0;                      // as wait4 encodes it
  abi::SigInfo info;                   // as waitid tells it
  abi::Rusage rusage;
};

}  // namespace rampart::kernel
