#include "sentry/kernel/pid_table.h"

#include <gtest/gtest.h>

namespace rampart::kernel {
namespace {

TEST(PidTable, NumbersRiseAndWrapPastTheReservedOnes) {
  PidTable table;
  EXPECT_EQ(table.Allocate().value(), 1);
  EXPECT_EQ(table.Allocate().value(), 2);
  abi::Pid last = 2;
  while (last < PidTable::kMaxPid - 1) last = table.Allocate().value();
  EXPECT_EQ(table.Allocate().value(), PidTable::kReserved);
}

TEST(PidTable, AReservedNumberIsNotGivenAgain) {
  PidTable table;
  EXPECT_EQ(table.AllocateExactly(5).value(), 5);
  table.Reserve(5);
  EXPECT_EQ(table.AllocateExactly(5).error(), Errno::kEEXIST);
  for (int i = 0; i < 10; ++i) EXPECT_NE(table.Allocate().value(), 5);
  table.Unreserve(5);
  EXPECT_EQ(table.AllocateExactly(5).value(), 5);
  EXPECT_EQ(table.AllocateExactly(0).error(), Errno::kEINVAL);
  EXPECT_EQ(table.AllocateExactly(PidTable::kMaxPid).error(), Errno::kEINVAL);
}

TEST(PidTable, ANumberIsTakenInEachNamespaceAround) {
  PidTable table;
  const auto root = MakeRef<PidNamespace>(nullptr);
  const auto outer = MakeRef<PidNamespace>(root), inner = MakeRef<PidNamespace>(outer);
  EXPECT_EQ(table.Take(root, {}, false)->pid, 1);
  EXPECT_EQ(table.Take(outer, {}, false)->own(), 1);
  const PidName name = table.Take(inner, {}, false).value();
  EXPECT_EQ(name.pid, 3);
  EXPECT_EQ(name.In(*root), 3);
  EXPECT_EQ(name.In(*outer), 2);
  EXPECT_EQ(name.In(*inner), 1);
  EXPECT_EQ(name.In(*MakeRef<PidNamespace>(outer)), 0);
  EXPECT_EQ(name.From(*outer), (std::vector<abi::Pid>{2, 1}));
  EXPECT_EQ(PidTable::Of(*outer, 2), 3);
  EXPECT_EQ(PidTable::Of(*inner, 2), 0);
  EXPECT_EQ(table.In(*inner, 2), 0);
  EXPECT_EQ(table.In(*inner, 3), 1);
  EXPECT_TRUE(root->Contains(*inner));
  EXPECT_FALSE(inner->Contains(*outer));
}

TEST(PidTable, ARefusedNumberTakesNothing) {
  PidTable table;
  const auto root = MakeRef<PidNamespace>(nullptr), ns = MakeRef<PidNamespace>(root);
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{2}, true).error(), Errno::kEINVAL);  // there is no process 1
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{1}, false).error(), Errno::kEPERM);
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{1, 9, 9}, true).error(), Errno::kEINVAL);
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{1, PidTable::kMaxPid}, true).error(), Errno::kEINVAL);
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{1, 40}, true)->pid, 40);
  EXPECT_EQ(table.Take(ns, std::vector<abi::Pid>{1}, true).error(), Errno::kEEXIST);
  EXPECT_EQ(table.Take(root, std::vector<abi::Pid>{40}, true).error(), Errno::kEEXIST);
}

TEST(PidTable, TheNumbersOfTheDeadAreRememberedForAWhile) {
  PidTable table;
  const auto root = MakeRef<PidNamespace>(nullptr), ns = MakeRef<PidNamespace>(root);
  const PidName first = table.Take(ns, {}, false).value(), second = table.Take(ns, {}, false).value();
  table.Unreserve(second.pid);
  EXPECT_EQ(PidTable::Of(*ns, 2), 0);
  EXPECT_EQ(table.In(*ns, second.pid), 2);
  for (size_t i = 0; i < PidTable::kRemembered; ++i) table.Unreserve(table.Take(ns, {}, false)->pid);
  EXPECT_EQ(table.In(*ns, second.pid), 0);
  // Whoever bears the number now is meant.
  table.Unreserve(first.pid);
  EXPECT_EQ(table.In(*ns, first.pid), 1);
  EXPECT_EQ(table.Take(root, std::vector<abi::Pid>{first.pid}, true)->pid, first.pid);
  EXPECT_EQ(table.In(*ns, first.pid), 0);
}

TEST(PidTable, AFirstProcessThatIsNotToBeIsFollowedByAnother) {
  PidTable table;
  const auto root = MakeRef<PidNamespace>(nullptr), ns = MakeRef<PidNamespace>(root);
  table.Unreserve(table.Take(ns, {}, false)->pid);
  EXPECT_EQ(table.Take(ns, {}, false)->own(), 1);
}

}  // namespace
}  // namespace rampart::kernel
