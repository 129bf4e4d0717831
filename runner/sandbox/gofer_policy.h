// The gofer's seccomp policy: what its server says that it needs (gofer/server/seccomp_table.h), less what this sandbox has no use for, with
// threads created only by a clone whose flags can be checked.
#pragma once

#include "runner/seccomp/policy.h"

namespace rampart::runner {

inline constexpr size_t kMostGoferSyscalls = 50;

// Without `host_sockets` there is no socket(2) and no connect(2).
seccomp::Policy GoferPolicy(bool host_sockets);

}  // namespace rampart::runner
