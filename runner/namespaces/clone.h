// Makes a child process in new namespaces.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

// All six that a confined process gets. CLONE_NEWTIME and CLONE_NEWCGROUP add nothing: it sees neither /proc nor cgroups.
uint64_t AllNamespaces();

struct Child {
  pid_t pid = -1;
  UniqueFd pidfd;
};

// Forks into `namespaces` (CLONE_NEW… flags) and runs `in_child` there; the child ends with status 125 if that returns.
// REQUIRES: this process has one thread. `in_child` runs in a copy of this process: it must not use what other threads own.
// Errors name the remedy where the host forbids namespaces.
absl::StatusOr<Child> CloneChild(uint64_t namespaces, absl::FunctionRef<void()> in_child);

// Its number in the PID namespace that /proc shows, which need not be ours. kNotFound.
absl::StatusOr<pid_t> PidInProc(const Child& child);

}  // namespace rampart::runner
