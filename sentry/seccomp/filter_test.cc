#include "sentry/seccomp/filter.h"

#include <gtest/gtest.h>

namespace rampart::appfilter {
namespace {

using abi::SockFilter;

constexpr uint16_t kLoad = abi::kBpfLd | abi::kBpfAbs, kReturn = abi::kBpfRet | abi::kBpfK, kJeq = abi::kBpfJmp | abi::kBpfJeq;

abi::SeccompData Call(int32_t number, uint64_t first = 0) { return {number, abi::kAuditArchX86_64, 0x1234, {first, 0, 0, 0, 0, 0}}; }
bool Accepted(std::vector<SockFilter> program) { return CheckProgram(program).ok(); }

TEST(Program, ComparesTheNumber) {
  const std::vector<SockFilter> program = {{kLoad, 0, 0, 0}, {kJeq, 0, 1, 39}, {kReturn, 0, 0, 7}, {kReturn, 0, 0, 8}};
  ASSERT_TRUE(CheckProgram(program).ok());
  EXPECT_EQ(RunProgram(program, Call(39)), 7u);
  EXPECT_EQ(RunProgram(program, Call(40)), 8u);
}

TEST(Program, ComputesAndReturnsA) {
  const std::vector<SockFilter> program = {{kLoad, 0, 0, 16},
                                           {abi::kBpfAlu | abi::kBpfMul, 0, 0, 3},
                                           {abi::kBpfMisc | abi::kBpfTax, 0, 0, 0},
                                           {abi::kBpfLd | abi::kBpfImm, 0, 0, 100},
                                           {abi::kBpfAlu | abi::kBpfSub | abi::kBpfX, 0, 0, 0},
                                           {abi::kBpfSt, 0, 0, 15},
                                           {abi::kBpfLd | abi::kBpfImm, 0, 0, 0},
                                           {abi::kBpfLd | abi::kBpfMem, 0, 0, 15},
                                           {abi::kBpfRet | abi::kBpfA, 0, 0, 0}};
  ASSERT_TRUE(CheckProgram(program).ok());
  EXPECT_EQ(RunProgram(program, Call(0, 5)), 85u);
}

TEST(Program, DivisionByZeroReturnsZero) {
  const std::vector<SockFilter> program = {
      {abi::kBpfLd | abi::kBpfImm, 0, 0, 100}, {abi::kBpfAlu | abi::kBpfDiv | abi::kBpfX, 0, 0, 0}, {kReturn, 0, 0, 9}};
  ASSERT_TRUE(CheckProgram(program).ok());
  EXPECT_EQ(RunProgram(program, Call(0)), 0u);
}

TEST(Program, BadOnesAreRefused) {
  EXPECT_FALSE(Accepted({}));
  EXPECT_FALSE(Accepted({{kLoad, 0, 0, 0}}));                                                    // no return
  EXPECT_FALSE(Accepted({{kLoad, 0, 0, 2}, {kReturn, 0, 0, 0}}));                                // not aligned
  EXPECT_FALSE(Accepted({{kLoad, 0, 0, 64}, {kReturn, 0, 0, 0}}));                               // beyond
  EXPECT_FALSE(Accepted({{0x30, 0, 0, 0}, {kReturn, 0, 0, 0}}));                                 // a byte
  EXPECT_FALSE(Accepted({{kJeq, 0, 1, 0}, {kReturn, 0, 0, 0}}));                                 // out of the program
  EXPECT_FALSE(Accepted({{abi::kBpfJmp | abi::kBpfJa, 0, 0, 0xffff'ffff}, {kReturn, 0, 0, 0}}));
  EXPECT_FALSE(Accepted({{abi::kBpfAlu | abi::kBpfDiv, 0, 0, 0}, {kReturn, 0, 0, 0}}));
  EXPECT_FALSE(Accepted({{abi::kBpfAlu | abi::kBpfLsh, 0, 0, 32}, {kReturn, 0, 0, 0}}));
  EXPECT_FALSE(Accepted({{abi::kBpfAlu | 0x90, 0, 0, 1}, {kReturn, 0, 0, 0}}));                  // modulo
  EXPECT_FALSE(Accepted({{abi::kBpfSt, 0, 0, 16}, {kReturn, 0, 0, 0}}));
  EXPECT_FALSE(Accepted({{abi::kBpfLd | abi::kBpfMem, 0, 0, 1}, {kReturn, 0, 0, 0}}));           // not written
  EXPECT_FALSE(Accepted({{0xff, 0, 0, 0}, {kReturn, 0, 0, 0}}));
  EXPECT_FALSE(Accepted(std::vector<SockFilter>(4097, {kReturn, 0, 0, 0})));
  EXPECT_TRUE(Accepted(std::vector<SockFilter>(4096, {kReturn, 0, 0, 0})));
}

TEST(Program, AScratchWordMustBeWrittenOnEveryWay) {
  const SockFilter store{abi::kBpfSt, 0, 0, 3}, load{abi::kBpfLd | abi::kBpfMem, 0, 0, 3}, end{abi::kBpfRet | abi::kBpfA, 0, 0, 0};
  EXPECT_FALSE(Accepted({{kLoad, 0, 0, 0}, {kJeq, 1, 0, 1}, store, load, end}));
  EXPECT_TRUE(Accepted({{kLoad, 0, 0, 0}, {kJeq, 0, 1, 1}, store, store, load, end}));
}

TEST(Filter, TheMostRestrictiveWinsAndOfEqualsTheNewest) {
  const auto make = [](uint32_t answer, RefPtr<const Filter> previous) { return *Filter::Create({{kReturn, 0, 0, answer}}, std::move(previous)); };
  Ref<Filter> filter = make(abi::kSeccompRetErrno | 1, nullptr);
  filter = make(abi::kSeccompRetAllow, filter);
  EXPECT_EQ(filter->Evaluate(Call(0)), abi::kSeccompRetErrno | 1);
  filter = make(abi::kSeccompRetErrno | 2, filter);
  EXPECT_EQ(filter->Evaluate(Call(0)), abi::kSeccompRetErrno | 2);
  const Ref<Filter> before = filter;
  filter = make(abi::kSeccompRetKillThread, filter);
  EXPECT_EQ(filter->Evaluate(Call(0)), abi::kSeccompRetKillThread);
  filter = make(abi::kSeccompRetKillProcess, filter);
  EXPECT_EQ(filter->Evaluate(Call(0)), abi::kSeccompRetKillProcess);
  EXPECT_EQ(filter->count(), 5u);
  EXPECT_TRUE(filter->Includes(before.get()));
  EXPECT_FALSE(before->Includes(filter.get()));
}

TEST(Filter, InstructionsOfAllAreLimited) {
  RefPtr<const Filter> filter;
  Errno error{};
  for (int i = 0; i < 10; ++i) {
    Result<Ref<Filter>> next = Filter::Create(std::vector<SockFilter>(4096, {kReturn, 0, 0, abi::kSeccompRetAllow}), filter);
    if (!next.ok()) {
      error = next.error();
      break;
    }
    filter = *next;
  }
  EXPECT_EQ(error, Errno::kENOMEM);
}

}  // namespace
}  // namespace rampart::appfilter
