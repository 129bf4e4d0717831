// Puts a policy in force for the whole process, for good.
#pragma once

#include "base/result.h"
#include "runner/seccomp/policy.h"

namespace rampart::seccomp {

// Compiles and installs `policy` on every thread of this process (TSYNC). REQUIRES: no_new_privs is set.
// Errors: EACCES (no_new_privs is not set), EINVAL or ENOSYS (the kernel has no seccomp filters), ESRCH (a thread could not be
// synchronised: it has a filter of its own).
Result<void> Install(const Policy& policy);

// For tests that look at what a filter lets through: from now on Install calls `installer` instead. Called before any other thread exists.
using Installer = Result<void> (*)(const Policy&);
void ReplaceInstallerForTesting(Installer installer);

// Makes glibc and Abseil decide now what they would otherwise ask the host under the filter, in the middle of a free() or of waiting for a
// mutex (malloc/arena.c, check_may_shrink_heap; arena limits; number of processors; priority of the thread). Call it before other threads
// are made: what threads inherit they inherit from the caller. In what ships it turns Abseil's lock-order checks off. Idempotent; starts and joins one thread.
void PrimeAllocator();

}  // namespace rampart::seccomp
