// The pristine stub: a process of one page of code and one page of control, born from the Sentry while that is small, from which all
// stub processes are forked. Forking the Sentry itself would copy its page tables and hand application code its memory.
//
// It shares the Sentry's descriptor table (CLONE_FILES), so that a descriptor that the Sentry receives later can be mapped in every
// stub under the same number. It has no capabilities, no signal handlers, and the filter of stub_filter.h, all inherited by the stubs.
//
// Life: PR_SET_PDEATHSIG kills it and all stubs when the thread that called Create() ends; that must be a thread that lives as long as
// the sandbox. Credentials, namespaces and Landlock domain of the caller must be final, else PTRACE_SEIZE of stubs will be refused.
//
// Thread safety: Spawn() from any thread. Lock order: mu_ is a leaf.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "platform/ptrace/stub_layout.h"

namespace rampart::platform::ptrace {

class Pristine {
 public:
  // Errors: the host's. ENOTSUP: the new process could not be set up (details in the log).
  static Result<std::unique_ptr<Pristine>> Create();
  ~Pristine();

  struct Spawned {
    pid_t pid;      // the leader, parked, untraced
    pid_t tid;      // a thread for application code, parked, untraced
    uint32_t slot;  // its command slot; give back with ReleaseSlot after the process has been reaped
  };
  // Forks a stub process. Its control page is still mapped: the first batch must unmap it before application code runs.
  // Errors: ENOMEM or EAGAIN (the host's limits, or no slot left), ESRCH (the pristine stub was killed).
  Result<Spawned> Spawn();
  void ReleaseSlot(uint32_t slot);
  uint64_t SlotsInUse();

  // The Sentry's view of a slot's commands.
  Command* Commands(uint32_t slot) const;

 private:
  Pristine(pid_t pid, UniqueFd memfd, std::byte* view, size_t size) : pid_(pid), memfd_(std::move(memfd)), view_(view), size_(size) {}
  Control& control() const;
  Result<uint32_t> TakeSlotLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> AskLocked(uint32_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const pid_t pid_;
  const UniqueFd memfd_;
  std::byte* const view_;
  const size_t size_;
  absl::Mutex mu_;
  bool dead_ ABSL_GUARDED_BY(mu_) = false;
  uint32_t slots_used_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mu_);
};

// The most stub processes at once.
inline constexpr uint32_t kMaxSlots = 16384;

}  // namespace rampart::platform::ptrace
