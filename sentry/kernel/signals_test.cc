#include "sentry/kernel/signals.h"

#include <gtest/gtest.h>

#include "sentry/kernel/signals_frame.h"

namespace rampart::kernel {
namespace {

abi::SigInfo Queued(int signo, uint64_t value) {
  abi::SigInfo info{.signo = signo, .code = abi::kSiQueue};
  info.SetValue(value);
  return info;
}

TEST(PendingSignals, OrdinarySignalIsKeptOnceWithItsFirstInformation) {
  PendingSignals q;
  EXPECT_TRUE(q.Enqueue(Queued(abi::kSigUsr1, 1), 10));
  EXPECT_TRUE(q.Enqueue(Queued(abi::kSigUsr1, 2), 10));
  EXPECT_EQ(q.size(), 1u);
  EXPECT_EQ(q.Dequeue(~abi::SigSet{0}).value(), 1u);
  EXPECT_EQ(q.set(), 0u);
}

TEST(PendingSignals, RealtimeSignalsKeepOrderAndCount) {
  PendingSignals q;
  for (uint64_t v = 1; v <= 3; ++v) EXPECT_TRUE(q.Enqueue(Queued(40, v), 10));
  for (uint64_t v = 1; v <= 3; ++v) {
    EXPECT_NE(q.set() & abi::SigBit(40), 0u);
    EXPECT_EQ(q.Dequeue(abi::SigBit(40)).value(), v);
  }
  EXPECT_EQ(q.Dequeue(abi::SigBit(40)).signo, 0);
}

TEST(PendingSignals, LowestNumberFirstButFaultsBeforeAll) {
  PendingSignals q;
  EXPECT_TRUE(q.Enqueue(Queued(abi::kSigHup, 0), 10));
  EXPECT_TRUE(q.Enqueue(Queued(abi::kSigUsr2, 0), 10));
  EXPECT_TRUE(q.Enqueue(abi::SigInfo{.signo = abi::kSigSegv, .code = abi::kSegvMapErr}, 10));
  EXPECT_EQ(q.Dequeue(~abi::SigSet{0}).signo, abi::kSigSegv);
  EXPECT_EQ(q.Dequeue(~abi::SigSet{0}).signo, abi::kSigHup);
  EXPECT_EQ(q.Dequeue(~abi::SigBit(abi::kSigUsr2)).signo, 0);
  EXPECT_EQ(q.Dequeue(~abi::SigSet{0}).signo, abi::kSigUsr2);
}

TEST(PendingSignals, AboveTheLimitRealtimeFailsAndKillLosesItsInformation) {
  PendingSignals q;
  EXPECT_TRUE(q.Enqueue(Queued(40, 1), 1));
  EXPECT_FALSE(q.Enqueue(Queued(41, 2), 1));
  abi::SigInfo kill{.signo = 42, .code = abi::kSiUser};
  kill.SetSender(7, 0);
  EXPECT_TRUE(q.Enqueue(kill, 1));
  const abi::SigInfo taken = q.Dequeue(abi::SigBit(42));
  EXPECT_EQ(taken.signo, 42);
  EXPECT_EQ(taken.pid(), 0);
}

TEST(PendingSignals, DiscardForgetsAllOfASet) {
  PendingSignals q;
  EXPECT_TRUE(q.Enqueue(Queued(40, 1), 10));
  EXPECT_TRUE(q.Enqueue(Queued(40, 2), 10));
  EXPECT_TRUE(q.Enqueue(Queued(41, 3), 10));
  q.Discard(abi::SigBit(40));
  EXPECT_EQ(q.size(), 1u);
  EXPECT_EQ(q.set(), abi::SigBit(41));
}

TEST(SignalActions, ResetKeepsIgnoredOnesOnly) {
  const Ref<SignalActions> actions = MakeRef<SignalActions>();
  (void)actions->Exchange(abi::kSigHup, {.handler = abi::kSigIgn});
  (void)actions->Exchange(abi::kSigUsr1, {.handler = 0x1000, .flags = abi::kSaRestart});
  EXPECT_EQ(actions->Caught(), abi::SigBit(abi::kSigUsr1));
  actions->ResetHandlers();
  EXPECT_EQ(actions->Ignored(), abi::SigBit(abi::kSigHup));
  EXPECT_EQ(actions->Caught(), 0u);
  EXPECT_EQ(actions->Get(abi::kSigUsr1).flags, 0u);
}

TEST(SignalActions, ResethandIsForOneDelivery) {
  const Ref<SignalActions> actions = MakeRef<SignalActions>();
  (void)actions->Exchange(abi::kSigUsr1, {.handler = 0x1000, .flags = abi::kSaResethand});
  EXPECT_EQ(actions->TakeForDelivery(abi::kSigUsr1).handler, 0x1000u);
  EXPECT_EQ(actions->TakeForDelivery(abi::kSigUsr1).handler, abi::kSigDfl);
}

TEST(SignalActions, CloneIsIndependent) {
  const Ref<SignalActions> actions = MakeRef<SignalActions>();
  const Ref<SignalActions> copy = actions->Clone();
  (void)actions->Exchange(abi::kSigUsr1, {.handler = 0x1000});
  EXPECT_EQ(copy->Get(abi::kSigUsr1).handler, abi::kSigDfl);
}

TEST(Signals, WhatDoesNothing) {
  EXPECT_TRUE(DoesNothing({.handler = abi::kSigDfl}, abi::kSigChld));
  EXPECT_TRUE(DoesNothing({.handler = abi::kSigDfl}, abi::kSigCont));
  EXPECT_TRUE(DoesNothing({.handler = abi::kSigIgn}, abi::kSigTerm));
  EXPECT_FALSE(DoesNothing({.handler = abi::kSigDfl}, abi::kSigTerm));
  EXPECT_FALSE(DoesNothing({.handler = 0x1000}, abi::kSigChld));
}

TEST(SignalFrame, IsLaidOutAsLinuxDoes) {
  for (uint64_t top = 0x7fff0000; top < 0x7fff0000 + 64; ++top) {
    const FrameLayout layout = LayOutFrame(top, 2440);
    EXPECT_EQ(layout.fpstate % 64, 0u);
    EXPECT_EQ((layout.frame + 8) % 16, 0u);
    EXPECT_LE(layout.fpstate + 2440 + kFpMagic2Size, top);
    EXPECT_LE(layout.frame + sizeof(SignalFrame), layout.fpstate);
  }
}

TEST(SignalFrame, ReturnCannotRaisePrivilege) {
  constexpr uint64_t kIopl = 0x3000, kInterruptFlag = 0x200, kCarry = 1, kAlignmentCheck = 0x40000;
  EXPECT_EQ(SanitizeEflags(kInterruptFlag, kIopl | kCarry | kAlignmentCheck), kInterruptFlag | kCarry | kAlignmentCheck);
  SignalContext context{};
  context.cs = 0x10;
  context.ss = 0x18;
  context.rip = 0x1234;
  abi::UserRegs regs{};
  TakeContext(regs, context);
  EXPECT_EQ(regs.cs, kUserCs);
  EXPECT_EQ(regs.ss, kUserSs);
  EXPECT_EQ(regs.rip, 0x1234u);
}

TEST(SignalFrame, ContextHoldsEveryRegister) {
  abi::UserRegs regs{};
  regs.r8 = 8, regs.r9 = 9, regs.r10 = 10, regs.r11 = 11, regs.r12 = 12, regs.r13 = 13, regs.r14 = 14, regs.r15 = 15;
  regs.rdi = 1, regs.rsi = 2, regs.rbp = 3, regs.rbx = 4, regs.rdx = 5, regs.rax = 6, regs.rcx = 7, regs.rsp = 16, regs.rip = 17;
  SignalContext context{};
  FillContext(context, regs);
  abi::UserRegs back{};
  TakeContext(back, context);
  back.cs = regs.cs, back.ss = regs.ss;
  EXPECT_EQ(std::memcmp(&back, &regs, sizeof(regs)), 0);
}

}  // namespace
}  // namespace rampart::kernel
