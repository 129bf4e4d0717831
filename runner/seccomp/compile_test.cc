#include "runner/seccomp/compile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>

#include <random>

#include "runner/seccomp/describe.h"

namespace rampart::seccomp {
namespace {

using abi::Sysno;
using testing::HasSubstr;

constexpr uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr uint32_t kKill = SECCOMP_RET_KILL_PROCESS;

uint32_t Decide(const Policy& policy, Sysno number, std::vector<uint64_t> args = {}) {
  return Evaluate(Compile(policy), MakeCall(number, args)).value();
}

// The meaning of a policy, written as directly as possible.
uint32_t Meaning(const Policy& policy, const seccomp_data& call) {
  for (const RefusedSyscall& refused : policy.refused) {
    if (static_cast<int>(refused.number) == call.nr) return SECCOMP_RET_ERRNO | static_cast<uint32_t>(refused.error);
  }
  const AllowedSyscall* allowed = Find(policy, static_cast<Sysno>(call.nr));
  if (allowed == nullptr) return kKill;
  if (allowed->rules.empty()) return kAllow;
  for (const Rule& rule : allowed->rules) {
    bool all = true;
    for (const ArgCheck& check : rule) {
      bool any = false;
      for (const uint64_t value : check.any_of) any |= (call.args[check.arg] & check.mask) == value;
      all &= any;
    }
    if (all) return kAllow;
  }
  return kKill;
}

TEST(Compile, KillsWhatIsNotNamed) {
  const Policy policy{"t", {{Sysno::read, "r"}, {Sysno::write, "w"}}, {}};
  EXPECT_EQ(Decide(policy, Sysno::read), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::write), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::openat), kKill);
}

TEST(Compile, KillsOtherArchitecturesAndX32) {
  const Policy policy{"t", {{Sysno::read, "r"}}, {}};
  const Program program = Compile(policy);
  seccomp_data call = MakeCall(Sysno::read);
  call.arch = AUDIT_ARCH_I386;
  EXPECT_EQ(Evaluate(program, call).value(), kKill);
  call = MakeCall(Sysno::read);
  call.nr |= 0x40000000;
  EXPECT_EQ(Evaluate(program, call).value(), kKill);
}

TEST(Compile, RefusedCallsFailWithTheirErrno) {
  const Policy policy{"t", {{Sysno::read, "r"}}, {{Sysno::clone3, Errno::kENOSYS, "c"}}};
  EXPECT_EQ(Decide(policy, Sysno::clone3), SECCOMP_RET_ERRNO | 38u);
}

TEST(Compile, IntChecksIgnoreTheUpperHalf) {
  const Policy policy{"t", {{Sysno::fcntl, "f", {{Int(1, {3, 1030})}}}}, {}};
  EXPECT_EQ(Decide(policy, Sysno::fcntl, {0, 3}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::fcntl, {0, 0xdead'0000'0000'0003}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::fcntl, {0, 4}), kKill);
}

TEST(Compile, LongChecksSeeTheUpperHalf) {
  const Policy policy{"t", {{Sysno::clone, "c", {{Long(0, {0x3d0f00})}}}, {Sysno::mmap, "m", {{LongBits(2, 3), IntBits(3, 0x22)}}}}, {}};
  EXPECT_EQ(Decide(policy, Sysno::clone, {0x3d0f00}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::clone, {0x1'003d0f00}), kKill);
  EXPECT_EQ(Decide(policy, Sysno::mmap, {0, 0, 3, 0x22}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::mmap, {0, 0, 7, 0x22}), kKill);
  EXPECT_EQ(Decide(policy, Sysno::mmap, {0, 0, 0x1'0000'0003, 0x22}), kKill);
  EXPECT_EQ(Decide(policy, Sysno::mmap, {0, 0, 3, 0x62}), kKill);
}

TEST(Compile, AnyRuleSuffices) {
  const Policy policy{"t", {{Sysno::tgkill, "k", {{Int(0, {1}), Int(2, {6})}, {Int(2, {10})}}}}, {}};
  EXPECT_EQ(Decide(policy, Sysno::tgkill, {1, 1, 6}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::tgkill, {2, 1, 6}), kKill);
  EXPECT_EQ(Decide(policy, Sysno::tgkill, {2, 1, 10}), kAllow);
}

TEST(Compile, AgreesWithTheMeaningOnRandomPoliciesAndCalls) {
  std::mt19937_64 random(1);
  auto below = [&](uint64_t n) { return random() % n; };
  for (int round = 0; round < 40; ++round) {
    Policy policy{"t", {}, {}};
    for (uint32_t number = 0; number < 335; ++number) {
      if (below(8) != 0) continue;
      AllowedSyscall call{static_cast<Sysno>(number), "r"};
      for (uint64_t rules = below(4); rules > 0; --rules) {
        Rule rule;
        for (uint64_t checks = 1 + below(3); checks > 0; --checks) {
          ArgCheck check{static_cast<int>(below(6)), below(2) ? ~uint64_t{0} : below(2) ? 0xffff'ffff : 0x7'0000'0007, {}};
          for (uint64_t values = 1 + below(4); values > 0; --values) check.any_of.push_back(below(8) & check.mask);
          rule.push_back(check);
        }
        call.rules.push_back(rule);
      }
      policy.allowed.push_back(call);
    }
    std::shuffle(policy.allowed.begin(), policy.allowed.end(), random);
    ASSERT_EQ(FindDefect(policy), "");
    const Program program = Compile(policy);
    for (int i = 0; i < 4000; ++i) {
      uint64_t args[6];
      for (uint64_t& arg : args) arg = below(8) | (below(4) == 0 ? below(8) << 32 : 0);
      const seccomp_data call = MakeCall(static_cast<Sysno>(below(340)), args);
      ASSERT_EQ(Evaluate(program, call).value(), Meaning(policy, call)) << "call " << call.nr;
    }
  }
}

TEST(Evaluate, RefusesProgramsThatTheKernelWouldRefuse) {
  const sock_filter no_return[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  EXPECT_EQ(Evaluate(no_return, MakeCall(Sysno::read)).error(), Errno::kEINVAL);
  const sock_filter bad_load[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)};
  EXPECT_EQ(Evaluate(bad_load, MakeCall(Sysno::read)).error(), Errno::kEINVAL);
}

TEST(Policy, DefectsAreNamed) {
  EXPECT_THAT(FindDefect({"t", {{Sysno::read, "r"}, {Sysno::read, "r"}}, {}}), HasSubstr("twice"));
  EXPECT_THAT(FindDefect({"t", {{Sysno::read, ""}}, {}}), HasSubstr("no reason"));
  EXPECT_THAT(FindDefect({"t", {{Sysno::read, "r", {{ArgCheck{6, 1, {0}}}}}}, {}}), HasSubstr("argument 6"));
  EXPECT_THAT(FindDefect({"t", {{Sysno::read, "r", {{ArgCheck{0, 1, {2}}}}}}, {}}), HasSubstr("mask"));
  EXPECT_THAT(FindDefect({"t", {{Sysno::read, "r", {{ArgCheck{0, 1, {}}}}}}, {}}), HasSubstr("nothing passes"));
}

TEST(Policy, MergeWidens) {
  Policy policy{"t", {{Sysno::tgkill, "k", {{Int(0, {1})}}}}, {}};
  const AllowedSyscall extra[] = {{Sysno::tgkill, "k", {{Int(2, {9})}}}, {Sysno::ptrace, "p"}};
  Merge(policy, extra);
  EXPECT_EQ(Decide(policy, Sysno::tgkill, {5, 5, 9}), kAllow);
  EXPECT_EQ(Decide(policy, Sysno::tgkill, {5, 5, 8}), kKill);
  EXPECT_EQ(Decide(policy, Sysno::ptrace), kAllow);
}

TEST(Describe, NamesCallsArgumentsAndReasons) {
  const Policy policy{"t", {{Sysno::mmap, "memory", {{IntBits(2, 3)}}}, {Sysno::close, "fds"}}, {{Sysno::clone3, Errno::kENOSYS, "glibc"}}};
  const std::string text = Describe(policy);
  EXPECT_THAT(text, HasSubstr("| `mmap` | arg2 ⊆ 3 | memory |"));
  EXPECT_THAT(text, HasSubstr("| `close` | any | fds |"));
  EXPECT_THAT(text, HasSubstr("| `clone3` | ENOSYS | glibc |"));
}

}  // namespace
}  // namespace rampart::seccomp
