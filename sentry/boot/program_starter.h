// Starts programs in a sandbox on behalf of somebody outside: the first one, and those of `runsc exec`.
// Thread safety: any thread.
#pragma once

#include <string>
#include <vector>

#include "abi/seccomp.h"
#include "base/unique_fd.h"
#include "sentry/boot/boot.h"
#include "sentry/boot/control.h"
#include "sentry/fs/host/host_terminal.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/operations.h"

namespace rampart::sentry::boot {

// Why a program did not start: what the runner is told.
struct StartError {
  StartFailure kind = StartFailure::kSandbox;
  Errno error{};
  std::string text;  // for people; empty: nothing went wrong
  bool ok() const { return text.empty(); }
};

class ProgramStarter {
 public:
  // What a program is to its container: PID 1; the first of a further container of a pod; one from outside; one that runs before the first (with no other
  // environment than its own).
  enum class Role : uint8_t { kInit, kContainerFirst, kFurther, kHook };
  // `kernel` outlives it. `filter`: what every program is started under; empty: nothing. `container`: whose they are. `pid_namespace`: that of the
  // container; null: the sandbox's.
  // `sets_home`: a program without HOME gets that of its user in /etc/passwd, "/" if there is none: as under other runtimes of containers.
  ProgramStarter(kernel::Kernel& kernel, Ref<vfs::MountNamespace> mounts, std::vector<abi::SockFilter> filter, bool memory_limited, bool sets_home,
                 uint32_t container = 0, RefPtr<kernel::PidNamespace> pid_namespace = nullptr);
  uint32_t container() const { return container_; }
  kernel::Kernel& kernel() const { return kernel_; }
  const Ref<kernel::PidNamespace>& pid_namespace() const { return pid_namespace_; }

  // Whether Start would find the program: what an engine is told before anything runs. Start may still fail for other reasons.
  StartError Check(const Program& program) const;
  // Runs `program`, under the number `pid` (Kernel::ReservePid; 0: the next one). Null: *error says why.
  RefPtr<kernel::ThreadGroup> Start(const Program& program, Ref<vfs::FdTable> fds, RefPtr<fs::HostTerminal> console, Role role, StartError& error,
                                    abi::Pid pid = 0);

  // Host descriptors as files of a program: files[i] under numbers[i]. The first terminal among them in *terminal.
  // Errors: EBADF, EINVAL (a number).
  static Result<Ref<vfs::FdTable>> MakeFds(std::vector<UniqueFd> files, const std::vector<int32_t>& numbers, RefPtr<fs::HostTerminal>* terminal);

 private:
  struct Place;  // a program's surroundings
  Result<std::string> FindProgram(const Program& program, const vfs::Walk& walk) const;
  Result<Place> Enter(const Program& program, KernelCaller& caller, StartError& error) const;
  std::vector<std::string> EnvironmentOf(const Program& program, const vfs::Walk& walk) const;

  kernel::Kernel& kernel_;
  const Ref<vfs::MountNamespace> mounts_;
  const std::vector<abi::SockFilter> filter_;
  const bool memory_limited_;
  const bool sets_home_;
  const uint32_t container_;
  const Ref<kernel::PidNamespace> pid_namespace_;
};

}  // namespace rampart::sentry::boot
