// prctl(PR_SET_SYSCALL_USER_DISPATCH): calls from outside a range of code are told to the program instead of being carried out.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "apart.h"

namespace {

using test::StatusApart;

#ifndef PR_SET_SYSCALL_USER_DISPATCH
constexpr int PR_SET_SYSCALL_USER_DISPATCH = 59;
#endif
constexpr unsigned long kOff = 0, kOn = 1;
constexpr char kAllow = 0, kBlock = 1;
constexpr long kNoSuchCall = 0xff00;

volatile char g_selector = kAllow;
volatile sig_atomic_t g_told = 0;
siginfo_t g_info;
greg_t g_rax, g_rip;

void OnSys(int, siginfo_t* info, void* context) {
  g_selector = kAllow;  // the way back needs a call
  g_told = g_told + 1;
  memcpy(&g_info, info, sizeof(g_info));
  auto* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  g_rax = registers[REG_RAX], g_rip = registers[REG_RIP];
  registers[REG_RAX] = 4711;
}

long Dispatch(unsigned long mode, unsigned long offset, unsigned long length, const volatile char* selector) {
  return syscall(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, mode, offset, length, selector);
}

class UserDispatch : public testing::Test {
 protected:
  void SetUp() override {
    struct sigaction action{};
    action.sa_sigaction = OnSys;
    action.sa_flags = SA_SIGINFO;
    ASSERT_EQ(sigaction(SIGSYS, &action, nullptr), 0);
    g_told = 0;
    g_selector = kAllow;
    if (Dispatch(kOff, 0, 0, nullptr) != 0) GTEST_SKIP() << "the kernel has it not";
  }
  void TearDown() override {
    g_selector = kAllow;
    Dispatch(kOff, 0, 0, nullptr);
  }
};

TEST_F(UserDispatch, ACallIsToldAndNotCarriedOut) {
  ASSERT_EQ(Dispatch(kOn, 0, 0, &g_selector), 0);
  g_selector = kBlock;
  const long result = syscall(kNoSuchCall, 1, 2, 3);
  ASSERT_EQ(g_told, 1);
  EXPECT_EQ(result, 4711);  // what the handler has put there
  EXPECT_EQ(g_rax, kNoSuchCall);
  EXPECT_EQ(g_info.si_signo, SIGSYS);
  EXPECT_EQ(g_info.si_code, 2);  // SYS_USER_DISPATCH
  EXPECT_EQ(g_info.si_syscall, kNoSuchCall);
  EXPECT_EQ(g_info.si_arch, static_cast<unsigned>(AUDIT_ARCH_X86_64));
  EXPECT_EQ(reinterpret_cast<greg_t>(g_info.si_call_addr), g_rip);
  EXPECT_EQ(g_info.si_errno, 0);
}

TEST_F(UserDispatch, TheSelectorDecidesEachTime) {
  ASSERT_EQ(Dispatch(kOn, 0, 0, &g_selector), 0);
  EXPECT_EQ(syscall(SYS_getppid), getppid());
  EXPECT_EQ(g_told, 0);
  g_selector = kBlock;
  EXPECT_EQ(syscall(SYS_getpid), 4711);  // also what the platform may answer by itself
  EXPECT_EQ(g_told, 1);
  EXPECT_EQ(syscall(SYS_getpid), getpid());
}

TEST_F(UserDispatch, TheRangeIsLeftAlone) {
  ASSERT_EQ(Dispatch(kOn, 1, 0x7fffffffffff, &g_selector), 0);
  g_selector = kBlock;
  EXPECT_EQ(syscall(SYS_getuid), getuid());
  EXPECT_EQ(g_told, 0);
}

TEST_F(UserDispatch, ChildrenAreWithout) {
  ASSERT_EQ(Dispatch(kOn, 0, 0, &g_selector), 0);
  EXPECT_EQ(StatusApart([] {
    g_selector = kBlock;
    EXPECT_EQ(syscall(SYS_getppid) > 0, true);
    EXPECT_EQ(g_told, 0);
  }), 0);
}

TEST_F(UserDispatch, ABadSelectorEndsTheProcess) {
  EXPECT_EQ(StatusApart([] {
    Dispatch(kOn, 0, 0, &g_selector);
    g_selector = 7;
    syscall(SYS_getpid);
  }) & 0x7f, SIGSYS);
  EXPECT_EQ(StatusApart([] {
    Dispatch(kOn, 0, 0, reinterpret_cast<const char*>(8));
    syscall(SYS_getpid);
  }) & 0x7f, SIGSEGV);
}

TEST_F(UserDispatch, ArgumentsAreChecked) {
  const auto fails = [](long result) { return result == -1 ? errno : 0; };
  EXPECT_EQ(fails(Dispatch(77, 0, 0, nullptr)), EINVAL);
  EXPECT_EQ(fails(Dispatch(kOff, 1, 0, nullptr)), EINVAL);
  EXPECT_EQ(fails(Dispatch(kOff, 0, 0, &g_selector)), EINVAL);
  EXPECT_EQ(fails(Dispatch(kOn, 1, 0, &g_selector)), EINVAL);
  EXPECT_EQ(fails(Dispatch(kOn, 5, ~0ul, &g_selector)), EINVAL);
  EXPECT_EQ(fails(Dispatch(kOn, 0, 0, reinterpret_cast<const char*>(~0ul))), EFAULT);
}

}  // namespace
