// A further container of a sandbox (a pod): its own files, gofer, descriptors and programs, in the kernel, network and PID namespace of the first.
// Thread safety: any thread.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "sentry/boot/boot.h"
#include "sentry/boot/mounts.h"
#include "sentry/boot/program_starter.h"
#include "sentry/fs/host/host_terminal.h"
#include "sentry/kernel/kernel.h"

namespace rampart::control {
class ContainerRequest;
class ExecRequest;
}  // namespace rampart::control

namespace rampart::sentry::boot {

// The program of a request; limits that it does not give are those of `defaults`.
Program ProgramOf(const control::ExecRequest& wanted, const std::vector<Rlimit>& defaults);
// What is wrong with it; null: nothing.
const char* Malformed(const Program& program);

class PodContainer {
 public:
  // Its mounts are made, nothing runs. `fds`: as the request has them. `pids`: what it joins; null: the sandbox's. Null: *error says why.
  static std::unique_ptr<PodContainer> Create(kernel::Kernel& kernel, SharedFilesystems& shared, const control::ContainerRequest& request,
                                              std::vector<UniqueFd> fds, uint32_t number, RefPtr<kernel::PidNamespace> pids, StartError& error);

  uint32_t number() const { return number_; }
  const std::string& id() const { return id_; }
  ProgramStarter& starter() { return *starter_; }
  const std::vector<Rlimit>& rlimits() const { return config_.rlimits; }
  // Runs its first program, once (EBUSY). Null: *error says why.
  RefPtr<kernel::ThreadGroup> Start(StartError& error);

 private:
  PodContainer(uint32_t number, std::string id) : number_(number), id_(std::move(id)) {}

  const uint32_t number_;
  const std::string id_;
  BootConfig config_;  // immutable once created
  std::unique_ptr<ProgramStarter> starter_;
  absl::Mutex mu_;
  RefPtr<vfs::FdTable> fds_ ABSL_GUARDED_BY(mu_);  // null: started
  RefPtr<fs::HostTerminal> terminal_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::sentry::boot
