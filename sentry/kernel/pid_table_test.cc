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

}  // namespace
}  // namespace rampart::kernel
