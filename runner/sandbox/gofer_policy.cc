#include "runner/sandbox/gofer_policy.h"

#include <linux/futex.h>
#include <sched.h>

#include "gofer/server/seccomp_table.h"

namespace rampart::runner {
namespace {

using abi::Sysno;
using seccomp::AllowedSyscall;

// What glibc's pthread_create asks for.
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                  CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

AllowedSyscall Convert(const gofer::AllowedCall& row) {
  AllowedSyscall call{static_cast<Sysno>(row.number), row.reason};
  seccomp::Rule rule;
  for (const gofer::ArgCheck& check : row.checks) {
    if (check.mask != 0) rule.push_back({check.index, check.mask, {check.value}});
  }
  if (!rule.empty()) call.rules.push_back(rule);
  return call;
}

bool IsForSockets(Sysno number) { return number == Sysno::socket || number == Sysno::connect; }

}  // namespace

seccomp::Policy GoferPolicy(bool host_sockets) {
  seccomp::Policy policy{"gofer", {}, {{Sysno::clone3, Errno::kENOSYS, "glibc falls back to clone, whose flags can be checked"}}};
  for (const gofer::AllowedCall& row : gofer::GoferHostCalls()) {
    const AllowedSyscall call = Convert(row);
    if (call.number == Sysno::clone3 || call.number == Sysno::clone) continue;
    if (IsForSockets(call.number) && !host_sockets) continue;
    seccomp::Merge(policy, std::span(&call, 1));
  }
  policy.allowed.push_back({Sysno::clone, "worker threads, with exactly the flags of pthread_create", {{seccomp::Long(0, {kThreadFlags})}}});
  return policy;
}

}  // namespace rampart::runner
