// prctl(PR_SET_MDWE): memory that is written is never executed. And what else prctl keeps about the machine.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "apart.h"
#include "expect.h"

namespace {

using test::Apart;

constexpr int kSetMdwe = 65, kGetMdwe = 66, kMceKill = 33, kMceKillGet = 34;
constexpr unsigned long kRefuse = 1, kNoInherit = 2;
constexpr size_t kPage = 4096;

char* Map(int prot) {
  void* const p = mmap(nullptr, kPage, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

TEST(ExecGain, IsRefused) {
  Apart([] {
    char* const old = Map(PROT_READ | PROT_WRITE | PROT_EXEC);
    ASSERT_NE(old, nullptr);
    ASSERT_EQ(prctl(kSetMdwe, kRefuse, 0, 0, 0), 0);
    EXPECT_EQ(prctl(kGetMdwe, 0, 0, 0, 0), 1);
    EXPECT_EQ(Map(PROT_WRITE | PROT_EXEC), nullptr);
    EXPECT_EQ(errno, EACCES);
    char* const code = Map(PROT_READ | PROT_EXEC);
    ASSERT_NE(code, nullptr);
    EXPECT_FAILS(mprotect(code, kPage, PROT_READ | PROT_WRITE | PROT_EXEC), EACCES);
    EXPECT_EQ(mprotect(code, kPage, PROT_READ), 0);  // once lost it does not come back
    EXPECT_FAILS(mprotect(code, kPage, PROT_READ | PROT_EXEC), EACCES);
    char* const data = Map(PROT_READ | PROT_WRITE);
    EXPECT_FAILS(mprotect(data, kPage, PROT_READ | PROT_EXEC), EACCES);
    EXPECT_EQ(mprotect(data, kPage, PROT_READ), 0);
    old[0] = 1;  // what was there stays as it is
    EXPECT_EQ(mprotect(old, kPage, PROT_READ | PROT_EXEC), 0);
  });
}

TEST(ExecGain, StaysAndIsInherited) {
  Apart([] {
    ASSERT_EQ(prctl(kSetMdwe, kRefuse, 0, 0, 0), 0);
    EXPECT_FAILS(prctl(kSetMdwe, 0, 0, 0, 0), EPERM);
    EXPECT_FAILS(prctl(kSetMdwe, kRefuse | kNoInherit, 0, 0, 0), EPERM);
    EXPECT_EQ(prctl(kSetMdwe, kRefuse, 0, 0, 0), 0);
    Apart([] { EXPECT_EQ(prctl(kGetMdwe, 0, 0, 0, 0), 1); });
  });
  Apart([] {
    ASSERT_EQ(prctl(kSetMdwe, kRefuse | kNoInherit, 0, 0, 0), 0);
    EXPECT_EQ(prctl(kGetMdwe, 0, 0, 0, 0), 3);
    Apart([] { EXPECT_EQ(prctl(kGetMdwe, 0, 0, 0, 0), 0); });
  });
}

TEST(ExecGain, ArgumentsAreChecked) {
  Apart([] {
    EXPECT_FAILS(prctl(kSetMdwe, kNoInherit, 0, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kSetMdwe, 4, 0, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kSetMdwe, kRefuse, 1, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kGetMdwe, 1, 0, 0, 0), EINVAL);
    EXPECT_EQ(prctl(kSetMdwe, 0, 0, 0, 0), 0);
  });
}

TEST(MachineChecks, ThePolicyIsKept) {
  Apart([] {
    EXPECT_EQ(prctl(kMceKillGet, 0, 0, 0, 0), 2);
    EXPECT_EQ(prctl(kMceKill, 1, 1, 0, 0), 0);
    EXPECT_EQ(prctl(kMceKillGet, 0, 0, 0, 0), 1);
    Apart([] { EXPECT_EQ(prctl(kMceKillGet, 0, 0, 0, 0), 1); });
    EXPECT_EQ(prctl(kMceKill, 0, 0, 0, 0), 0);
    EXPECT_EQ(prctl(kMceKillGet, 0, 0, 0, 0), 2);
    EXPECT_FAILS(prctl(kMceKill, 1, 3, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kMceKill, 2, 0, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kMceKill, 0, 1, 0, 0), EINVAL);
    EXPECT_FAILS(prctl(kMceKillGet, 1, 0, 0, 0), EINVAL);
  });
}

TEST(TimeStampCounter, IsReadable) {
  EXPECT_EQ(prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0), 0);
  int state = 0;
  EXPECT_EQ(prctl(PR_GET_TSC, &state, 0, 0, 0), 0);
  EXPECT_EQ(state, PR_TSC_ENABLE);
  EXPECT_FAILS(prctl(PR_SET_TSC, 77, 0, 0, 0), EINVAL);
}

}  // namespace
