#include "gofer/server/seccomp_table.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <set>

namespace rampart::gofer {
namespace {

TEST(GoferHostCalls, AreAtMostFifty) {
  std::set<int> numbers;
  for (const AllowedCall& call : GoferHostCalls()) numbers.insert(call.number);
  EXPECT_LE(numbers.size(), 50u);
}

TEST(GoferHostCalls, HaveReasonsAndNoneOfTheDangerous) {
  for (const AllowedCall& call : GoferHostCalls()) {
    EXPECT_NE(std::string(call.reason), "") << call.name;
    for (const int never : {SYS_open, SYS_openat, SYS_execve, SYS_execveat, SYS_ptrace, SYS_mount, SYS_unshare, SYS_setns, SYS_chroot, SYS_bpf,
                            SYS_ioctl, SYS_prctl, SYS_bind, SYS_listen, SYS_kill})
      EXPECT_NE(call.number, never) << call.name;
  }
}

}  // namespace
}  // namespace rampart::gofer
