// Puts a policy in force for the whole process, for good.
#pragma once

#include "base/result.h"
#include "runner/seccomp/policy.h"

namespace rampart::seccomp {

// Compiles and installs `policy` on every thread of this process (TSYNC). REQUIRES: no_new_privs is set.
// Errors: EACCES (no_new_privs is not set), EINVAL or ENOSYS (the kernel has no seccomp filters), ESRCH (a thread could not be
// synchronised: it has a filter of its own).
Result<void> Install(const Policy& policy);

// Makes glibc decide now what it would otherwise look up in /proc under the filter, in the middle of a free() (malloc/arena.c,
// check_may_shrink_heap; arena limits). Call once before Install; starts and joins one thread.
void PrimeAllocator();

}  // namespace rampart::seccomp
