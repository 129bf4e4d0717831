#include "sentry/boot/seccomp_table.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <termios.h>

#include <algorithm>

#include "runner/seccomp/install.h"

namespace rampart::sentry::boot {
namespace {

using abi::Sysno;
using seccomp::AllowedSyscall;
using seccomp::Int;
using seccomp::IntBits;
using seccomp::Long;
using seccomp::LongBits;
using seccomp::Policy;

constexpr uint64_t kSelf = platform::kSentryPid;

constexpr uint32_t kDataProt = PROT_READ | PROT_WRITE;
constexpr uint32_t kMapFlags =
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE | MAP_STACK | MAP_FIXED_NOREPLACE;
// What glibc's pthread_create asks for; nothing else makes a thread, and nothing makes a process.
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                  CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

std::vector<AllowedSyscall> Base() {
  // The first seccomp::kHotCalls are the hottest (compile.h).
  return {
      {Sysno::futex, "locks, and the shared-memory channel to the gofer",
       {{{1, 0xffff'ffff & ~uint64_t{FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME}, {FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET}}}}},
      {Sysno::preadv, "donated files"},
      {Sysno::pwritev, "donated files"},
      {Sysno::mmap, "memory, windows on the memory file and on donated files; never executable",
       {{LongBits(2, kDataProt), IntBits(3, kMapFlags)}}},
      {Sysno::munmap, "memory"},
      {Sysno::madvise, "giving memory back, populating windows",
       {{Int(2, {MADV_DONTNEED, MADV_REMOVE, MADV_POPULATE_WRITE})}}},
      {Sysno::write, "the log, statistics"},
      {Sysno::preadv2, "standard input, if it can without blocking", {{Int(5, {0, RWF_NOWAIT})}}},
      {Sysno::pwritev2, "standard output, if it can without blocking", {{Int(5, {0, RWF_NOWAIT})}}},
      {Sysno::close, "donated files"},
      {Sysno::newfstatat, "fstat(3) of donated files and standard streams; the root is empty", {{Int(3, {AT_EMPTY_PATH})}}},
      {Sysno::lseek, "standard streams; holes of donated files"},
      {Sysno::ftruncate, "the memory file, donated files"},
      {Sysno::fallocate, "donated files"},
      {Sysno::fdatasync, "donated files"},
      {Sysno::fsync, "donated files"},
      {Sysno::fcntl, "duplicates of donated files, how they were opened, the seals of a lane", {{Int(1, {F_DUPFD_CLOEXEC, F_GETFL, F_GET_SEALS})}}},
      {Sysno::ioctl, "the caller's terminal",
       {{Int(1, {TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCSWINSZ, TCFLSH, TCXONC, TCSBRK, TCSBRKP, FIONREAD, TIOCOUTQ})}}},
      {Sysno::ppoll, "waiting for standard streams and the channels"},
      {Sysno::epoll_ctl, "waiting for standard streams"},
      {Sysno::epoll_wait, "waiting for standard streams"},
      {Sysno::sendmsg, "the gofer's channel, the runner's control socket"},
      {Sysno::recvmsg, "the gofer's channel, the runner's control socket"},
      {Sysno::mprotect, "stacks and heaps; never executable", {{LongBits(2, kDataProt)}}},
      {Sysno::mremap, "growing large heap blocks", {{IntBits(3, MREMAP_MAYMOVE)}}},
      {Sysno::brk, "the heap"},
      {Sysno::clone, "threads, with exactly the flags of pthread_create", {{Long(0, {kThreadFlags})}}},
      {Sysno::set_robust_list, "start of a thread"},
      {Sysno::rseq, "start of a thread"},
      {Sysno::exit, "end of a thread"},
      {Sysno::exit_group, "end of the process"},
      {Sysno::rt_sigaction, "abort"},
      {Sysno::rt_sigprocmask, "threads"},
      {Sysno::rt_sigreturn, "return from the handler of faults in user memory"},
      {Sysno::tgkill, "interrupting a thread of our own", {{Int(0, {kSelf})}}},
      {Sysno::getpid, "abort"},
      {Sysno::gettid, "threads"},
      {Sysno::sched_yield, "locks"},
      {Sysno::clock_gettime, "processor time of threads; clocks where the vDSO has none"},
      {Sysno::clock_nanosleep, "timers"},
      {Sysno::getrandom, "random numbers for applications"},
      {Sysno::prctl, "names of threads", {{Int(0, {PR_SET_NAME})}}},
      {Sysno::restart_syscall, "the kernel's own, after a stop"},
  };
}

AllowedSyscall Allowed(const platform::NeededSyscall& needed) {
  AllowedSyscall call{static_cast<Sysno>(needed.number), needed.reason};
  for (const auto& checks : needed.rules) {
    seccomp::Rule& rule = call.rules.emplace_back();
    for (const platform::ArgumentCheck& check : checks) rule.push_back({check.argument, check.mask, check.any_of});
  }
  return call;
}

// The ioctls: a rule for each set of descriptors.
AllowedSyscall IoctlsOf(const std::vector<platform::NeededIoctl>& needed) {
  AllowedSyscall call{Sysno::ioctl, needed.front().reason};
  for (const platform::NeededIoctl& one : needed) {
    const auto fd = static_cast<uint64_t>(static_cast<uint32_t>(one.fd));
    const auto same = std::find_if(call.rules.begin(), call.rules.end(), [&](const seccomp::Rule& rule) {
      return rule[0].mask == one.fd_mask && rule[0].any_of[0] == fd;
    });
    if (same != call.rules.end()) {
      (*same)[1].any_of.push_back(one.request);
    } else {
      call.rules.push_back({{0, one.fd_mask, {fd}}, Int(1, {one.request})});
    }
  }
  return call;
}

// Running a virtual processor is the hottest call there is where there are any: its rule is looked at first.
void PutIoctlsFirst(Policy& policy, size_t rules) {
  const auto call = std::find_if(policy.allowed.begin(), policy.allowed.end(), [](const AllowedSyscall& one) { return one.number == Sysno::ioctl; });
  std::rotate(call->rules.begin(), call->rules.end() - static_cast<ptrdiff_t>(rules), call->rules.end());
  std::rotate(policy.allowed.begin(), call, call + 1);
}

}  // namespace

Policy BasePolicy() { return {"sentry", Base(), {{Sysno::clone3, Errno::kENOSYS, "glibc falls back to clone, whose flags can be checked"}}}; }

Policy SentryPolicy(const platform::PlatformInfo& platform) {
  Policy policy = BasePolicy();
  const std::vector<platform::NeededIoctl> ioctls = platform.needed_ioctls();
  for (const platform::NeededSyscall& call : platform.needed_syscalls()) {
    AllowedSyscall extra = Allowed(call);
    if (extra.number == Sysno::ioctl && !ioctls.empty()) {
      extra = IoctlsOf(ioctls);
      extra.reason = call.reason;
    }
    seccomp::Merge(policy, std::span(&extra, 1));
    if (extra.number == Sysno::ioctl) PutIoctlsFirst(policy, extra.rules.size());
  }
  return policy;
}

Result<void> InstallSentryFilter(const Policy& policy) {
  seccomp::PrimeAllocator();
  return seccomp::Install(policy);
}

}  // namespace rampart::sentry::boot
