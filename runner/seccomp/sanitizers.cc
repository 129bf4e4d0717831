#include "runner/seccomp/sanitizers.h"

#include <algorithm>

#include "base/sanitizers.h"

namespace rampart::seccomp {
namespace {

using abi::Sysno;

constexpr Sysno kNeeded[] = {Sysno::sigaltstack, Sysno::sched_getaffinity, Sysno::getrlimit,   Sysno::prlimit64, Sysno::mincore,     Sysno::nanosleep,
                             Sysno::gettid,      Sysno::getpid,            Sysno::sched_yield, Sysno::madvise,   Sysno::rt_sigaction, Sysno::rt_sigprocmask,
                             Sysno::sysinfo,     Sysno::getrusage,         Sysno::write,       Sysno::tgkill,    Sysno::mmap,
                             Sysno::pipe,        Sysno::pipe2,             Sysno::close,       Sysno::read, Sysno::writev, Sysno::gettimeofday};
// pipe: how UndefinedBehaviorSanitizer finds out whether memory is there.
// Tried while a report is made, which does without their answers.
constexpr Sysno kRefused[] = {Sysno::open, Sysno::openat, Sysno::readlink, Sysno::readlinkat, Sysno::access, Sysno::fork,
                              Sysno::execve, Sysno::personality, Sysno::stat, Sysno::lstat, Sysno::fstat, Sysno::getcwd, Sysno::uname, Sysno::ioctl};

}  // namespace

Policy WithSanitizerCalls(Policy policy) {
  if (!kSanitized) return policy;
  for (const Sysno number : kNeeded) {
    const AllowedSyscall extra{number, "the sanitizer's runtime"};
    std::erase_if(policy.refused, [&](const RefusedSyscall& call) { return call.number == number; });
    Merge(policy, std::span(&extra, 1));
  }
  for (const Sysno number : kRefused) {
    const bool known = Find(policy, number) != nullptr ||
                       std::any_of(policy.refused.begin(), policy.refused.end(), [&](const RefusedSyscall& call) { return call.number == number; });
    if (!known) policy.refused.push_back({number, Errno::kEPERM, "the sanitizer's reports"});
  }
  return policy;
}

}  // namespace rampart::seccomp
