// The filters themselves, evaluated on made-up calls, and held against golden lists.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "platform/kvm/ioctls.h"
#include "platform/kvm/needed.h"
#include "platform/registry/registry.h"
#include "runner/cli/print.h"
#include "runner/sandbox/gofer_policy.h"
#include "runner/seccomp/compile.h"
#include "sentry/boot/seccomp_table.h"

namespace rampart::security {
namespace {

using abi::Sysno;
using seccomp::Policy;

Policy Sentry(const char* name = "ptrace") {
  return sentry::boot::SentryPolicy(*platform::FindPlatform(name));
}

bool Allows(const Policy& policy, Sysno number, std::vector<uint64_t> args = {}) {
  return seccomp::Evaluate(seccomp::Compile(policy), seccomp::MakeCall(number, args)).value() == SECCOMP_RET_ALLOW;
}

// What a process that took over the sentry or the gofer would reach for first.
constexpr Sysno kNobodyNeeds[] = {
    Sysno::open,      Sysno::creat,         Sysno::execve,        Sysno::execveat,       Sysno::fork,          Sysno::vfork,
    Sysno::mount,     Sysno::umount2,       Sysno::pivot_root,    Sysno::chroot,         Sysno::setns,         Sysno::unshare,
    Sysno::kill,      Sysno::tkill,         Sysno::bpf,           Sysno::perf_event_open, Sysno::userfaultfd,  Sysno::io_uring_setup,
    Sysno::keyctl,    Sysno::add_key,       Sysno::init_module,   Sysno::finit_module,   Sysno::kexec_load,    Sysno::process_vm_readv,
    Sysno::setuid,    Sysno::setresuid,     Sysno::capset,        Sysno::personality,    Sysno::bind,          Sysno::listen,
    Sysno::accept,    Sysno::accept4,       Sysno::open_tree,     Sysno::move_mount,     Sysno::fsopen,        Sysno::name_to_handle_at,
    Sysno::open_by_handle_at, Sysno::pidfd_getfd, Sysno::pidfd_open, Sysno::process_madvise, Sysno::memfd_secret, Sysno::seccomp,
    Sysno::ioperm,    Sysno::iopl,          Sysno::modify_ldt,    Sysno::shmget,         Sysno::msgget,        Sysno::semget};

TEST(SentryFilter, AtMostFiftyCallsOnEveryPlatform) {
  for (const platform::PlatformInfo* info : platform::Platforms()) {
    const Policy policy = sentry::boot::SentryPolicy(*info);
    EXPECT_EQ(seccomp::FindDefect(policy), "") << info->name;
    EXPECT_LE(policy.allowed.size(), sentry::boot::kMostSentrySyscalls) << info->name;
  }
}

TEST(GoferFilter, AtMostFiftyCalls) {
  for (const bool sockets : {false, true}) {
    EXPECT_EQ(seccomp::FindDefect(runner::GoferPolicy(sockets)), "");
    EXPECT_LE(runner::GoferPolicy(sockets).allowed.size(), runner::kMostGoferSyscalls);
  }
}

TEST(SentryFilter, NoFilesNoSocketsNoProcesses) {
  const Policy policy = Sentry();
  for (const Sysno call : kNobodyNeeds) EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  for (const Sysno call : {Sysno::openat, Sysno::openat2, Sysno::socket, Sysno::socketpair, Sysno::connect, Sysno::unlinkat, Sysno::linkat,
                           Sysno::renameat2, Sysno::mkdirat, Sysno::readlinkat, Sysno::fchmod, Sysno::fchown, Sysno::getdents64}) {
    EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  }
}

TEST(GoferFilter, NoSocketsNoProcessesNoPathsFromTheWorkingDirectory) {
  const Policy policy = runner::GoferPolicy(false);
  for (const Sysno call : kNobodyNeeds) EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  for (const Sysno call : {Sysno::openat, Sysno::socket, Sysno::connect, Sysno::ptrace, Sysno::wait4}) {
    EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  }
}

TEST(BothFilters, NothingBecomesExecutable) {
  for (const Policy& policy : {Sentry(), runner::GoferPolicy(true)}) {
    const uint64_t anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    EXPECT_TRUE(Allows(policy, Sysno::mmap, {0, 4096, PROT_READ | PROT_WRITE, anonymous, ~uint64_t{0}, 0})) << policy.name;
    EXPECT_FALSE(Allows(policy, Sysno::mmap, {0, 4096, PROT_READ | PROT_EXEC, anonymous, ~uint64_t{0}, 0})) << policy.name;
    EXPECT_FALSE(Allows(policy, Sysno::mmap, {0, 4096, PROT_EXEC, anonymous, ~uint64_t{0}, 0})) << policy.name;
    EXPECT_TRUE(Allows(policy, Sysno::mprotect, {0, 4096, PROT_READ})) << policy.name;
    EXPECT_FALSE(Allows(policy, Sysno::mprotect, {0, 4096, PROT_READ | PROT_EXEC})) << policy.name;
  }
}

TEST(BothFilters, OnlyThreadsAreCloned) {
  for (const Policy& policy : {Sentry(), runner::GoferPolicy(true)}) {
    EXPECT_TRUE(Allows(policy, Sysno::clone, {0x3d0f00})) << policy.name;
    for (const uint64_t flags : {uint64_t{17}, uint64_t{0x3d0f00 | 0x10000000}, uint64_t{0x4111}, uint64_t{0x100}}) {
      EXPECT_FALSE(Allows(policy, Sysno::clone, {flags})) << policy.name << " " << flags;
    }
    const auto decision = seccomp::Evaluate(seccomp::Compile(policy), seccomp::MakeCall(Sysno::clone3)).value();
    EXPECT_EQ(decision, SECCOMP_RET_ERRNO | static_cast<uint32_t>(Errno::kENOSYS)) << policy.name;
  }
}

TEST(SentryFilter, ArgumentsAreChecked) {
  const Policy policy = Sentry();
  EXPECT_TRUE(Allows(policy, Sysno::futex, {0, FUTEX_WAIT | FUTEX_PRIVATE_FLAG}));
  EXPECT_FALSE(Allows(policy, Sysno::futex, {0, FUTEX_LOCK_PI}));
  EXPECT_TRUE(Allows(policy, Sysno::ioctl, {0, TIOCGWINSZ}));
  EXPECT_FALSE(Allows(policy, Sysno::ioctl, {0, TIOCSTI}));
  EXPECT_FALSE(Allows(policy, Sysno::ioctl, {0, TIOCSCTTY}));
  EXPECT_FALSE(Allows(policy, Sysno::prctl, {PR_SET_PDEATHSIG, 0}));
  EXPECT_FALSE(Allows(policy, Sysno::prctl, {PR_SET_SECCOMP, 0}));
  EXPECT_FALSE(Allows(policy, Sysno::fcntl, {0, F_SETOWN}));
  EXPECT_FALSE(Allows(policy, Sysno::fcntl, {0, F_NOTIFY}));
  EXPECT_TRUE(Allows(policy, Sysno::ptrace, {PTRACE_SYSEMU}));
  EXPECT_FALSE(Allows(policy, Sysno::ptrace, {PTRACE_ATTACH}));
  EXPECT_FALSE(Allows(policy, Sysno::ptrace, {PTRACE_POKETEXT}));
}

TEST(SentryFilter, TakesEachPlatformsCallsOnlyThere) {
  const Policy none = sentry::boot::BasePolicy();
  EXPECT_FALSE(Allows(none, Sysno::ptrace, {PTRACE_SYSEMU}));
  EXPECT_FALSE(Allows(none, Sysno::wait4));
  EXPECT_FALSE(Allows(none, Sysno::tgkill, {2, 2, 9}));
}

// The KVM platform with a machine at descriptor 100 and processors from 1024 on.
Policy KvmSentry() {
  static const platform::PlatformInfo kInfo = [] {
    platform::PlatformInfo info{};
    info.name = "kvm";
    info.needed_syscalls = platform::kvm::NeededSyscalls;
    info.needed_ioctls = [] { return platform::kvm::NeededIoctls(100, 1024); };
    return info;
  }();
  return sentry::boot::SentryPolicy(kInfo);
}

TEST(KvmSentryFilter, OnlyTheIoctlsInUseOnTheirDescriptors) {
  const Policy policy = KvmSentry();
  EXPECT_EQ(seccomp::FindDefect(policy), "");
  EXPECT_LE(policy.allowed.size(), sentry::boot::kMostSentrySyscalls);
  for (const platform::kvm::UsedIoctl& used : platform::kvm::kUsedIoctls) {
    const bool vm = used.kind == platform::kvm::FdKind::kVm;
    for (const uint64_t fd : {uint64_t{1024}, uint64_t{1025}, uint64_t{2047}}) EXPECT_EQ(Allows(policy, Sysno::ioctl, {fd, used.request}), !vm) << used.reason;
    for (const uint64_t fd : {uint64_t{1023}, uint64_t{2048}, uint64_t{0}, uint64_t{3}, ~uint64_t{0}, uint64_t{1024 + 65536}}) {
      EXPECT_FALSE(Allows(policy, Sysno::ioctl, {fd, used.request})) << used.reason << fd;
    }
    EXPECT_EQ(Allows(policy, Sysno::ioctl, {100, used.request}), vm) << used.reason;
  }
}

TEST(KvmSentryFilter, NothingElseOfKvm) {
  const Policy policy = KvmSentry();
  // Devices, other machines' memory, interrupts of the host, dirty logs, the guest's debug registers …
  for (const uint64_t request : std::initializer_list<uint64_t>{KVM_CREATE_VM, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_IRQFD, KVM_IOEVENTFD, KVM_GET_DIRTY_LOG, KVM_CREATE_DEVICE, KVM_SET_GUEST_DEBUG,
                                 KVM_CHECK_EXTENSION, KVM_ENABLE_CAP, KVM_SET_TSS_ADDR, KVM_MEMORY_ENCRYPT_OP, KVM_SET_NESTED_STATE}) {
    for (const uint64_t fd : {uint64_t{3}, uint64_t{100}, uint64_t{1024}}) EXPECT_FALSE(Allows(policy, Sysno::ioctl, {fd, request})) << std::hex << request;
  }
  EXPECT_TRUE(Allows(policy, Sysno::ioctl, {0, TIOCGWINSZ}));
  EXPECT_FALSE(Allows(policy, Sysno::ioctl, {0, TIOCSTI}));
}

TEST(KvmSentryFilter, NoTracingNoSignalsToOthers) {
  const Policy policy = KvmSentry();
  for (const Sysno call : kNobodyNeeds) EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  for (const Sysno call : {Sysno::ptrace, Sysno::wait4, Sysno::openat, Sysno::socket, Sysno::sched_setaffinity}) {
    EXPECT_FALSE(Allows(policy, call)) << abi::SysnoName(static_cast<uint32_t>(call));
  }
  EXPECT_TRUE(Allows(policy, Sysno::tgkill, {1, 7, SIGURG}));
  EXPECT_FALSE(Allows(policy, Sysno::tgkill, {2, 7, SIGURG}));
  EXPECT_FALSE(Allows(policy, Sysno::fcntl, {0, F_SETOWN}));
  const uint64_t shared = MAP_SHARED;
  EXPECT_TRUE(Allows(policy, Sysno::mmap, {0, 12288, PROT_READ | PROT_WRITE, shared, 1024, 0}));
  EXPECT_FALSE(Allows(policy, Sysno::mmap, {0, 12288, PROT_READ | PROT_WRITE | PROT_EXEC, shared, 1024, 0}));
}

// docs/seccomp.md is the golden list: a change of a table shows in review as a change of that file.
TEST(SeccompDocument, IsFresh) {
  std::ifstream file(SECCOMP_DOCUMENT);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), runner::SeccompDocument()) << "run: sentry-run --print-seccomp > docs/seccomp.md";
}

}  // namespace
}  // namespace rampart::security
