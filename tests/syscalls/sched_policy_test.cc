// sched_setattr(2) and sched_setscheduler(2): which policies there are, what each asks for, and what an ordinary user may.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>

#include "apart.h"
#include "expect.h"

namespace {

using test::Apart;

constexpr uint32_t kOther = 0, kFifo = 1, kRr = 2, kBatch = 3, kIdle = 5, kDeadline = 6, kExt = 7;
constexpr uint64_t kReset = 1, kReclaim = 2, kOverrun = 4, kKeepPolicy = 8, kKeepParams = 16, kUtilMin = 32;

struct Attr {
  uint32_t size = 56, policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
  uint32_t util_min = 0, util_max = 0;
};
long Set(const Attr& attr) { return syscall(SYS_sched_setattr, 0, &attr, 0); }
Attr Now() {
  Attr attr;
  EXPECT_EQ(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0), 0);
  return attr;
}
int SetScheduler(int policy, int priority) {
  const sched_param param{priority};
  return sched_setscheduler(0, policy, &param);
}

void AsUser(const std::function<void()>& body) {
  Apart([&] {
    if (geteuid() == 0) {
      ASSERT_EQ(setgid(65534), 0);
      ASSERT_EQ(setuid(65534), 0);
    }
    body();
  });
}

TEST(SchedPolicy, ADeadlineNeedsItsNumbersAndAPrivilege) {
  AsUser([] {
    const Attr good{.policy = kDeadline, .runtime = 10'000'000, .deadline = 20'000'000, .period = 30'000'000};
    EXPECT_FAILS(Set(good), EPERM);
    Attr bad = good;
    bad.deadline = 0;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.runtime = 1000;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.period = 10'000'000;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.runtime = 20'000'001;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.period = uint64_t{1} << 63;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.priority = 1;
    EXPECT_FAILS(Set(bad), EINVAL);
    bad = good, bad.period = 0;  // as the deadline
    EXPECT_FAILS(Set(bad), EPERM);
    EXPECT_FAILS(SetScheduler(kDeadline, 0), EINVAL);
  });
}

TEST(SchedPolicy, RangesOfPriorities) {
  for (const uint32_t policy : {kOther, kBatch, kIdle, kDeadline, kExt}) {
    if (policy == kExt && sched_get_priority_max(kExt) < 0) continue;  // older than 6.12
    EXPECT_EQ(sched_get_priority_max(static_cast<int>(policy)), 0) << policy;
    EXPECT_EQ(sched_get_priority_min(static_cast<int>(policy)), 0) << policy;
  }
  for (const uint32_t policy : {kFifo, kRr}) EXPECT_EQ(sched_get_priority_max(static_cast<int>(policy)), 99);
  EXPECT_FAILS(sched_get_priority_max(4), EINVAL);
  EXPECT_FAILS(sched_get_priority_max(8), EINVAL);
}

TEST(SchedPolicy, FlagsOfDeadlinesAreKnown) {
  Apart([] {
    EXPECT_EQ(Set({.policy = kOther, .flags = kReclaim}), 0);
    EXPECT_EQ(Set({.policy = kBatch, .flags = kOverrun | kReset}), 0);
    EXPECT_EQ(Now().flags, kReset);
    EXPECT_FAILS(Set({.policy = kBatch, .flags = 0x80}), EINVAL);
    EXPECT_FAILS(Set({.policy = 4}), EINVAL);
    EXPECT_FAILS(Set({.policy = 8}), EINVAL);
    EXPECT_FAILS(Set({.policy = 0x80000000, .flags = kKeepPolicy}), EINVAL);
  });
}

TEST(SchedPolicy, KeptParametersKeepThePolicyToo) {
  Apart([] {
    ASSERT_EQ(Set({.policy = kOther, .nice = 3}), 0);
    ASSERT_EQ(Set({.policy = kBatch, .flags = kKeepParams, .nice = 7}), 0);
    EXPECT_EQ(Now().policy, kOther);
    EXPECT_EQ(Now().nice, 3);
    ASSERT_EQ(Set({.policy = kBatch, .flags = kKeepPolicy, .nice = 9}), 0);
    EXPECT_EQ(Now().policy, kOther);
    EXPECT_EQ(Now().nice, 9);
  });
}

TEST(SchedPolicy, IdleHasNoNiceness) {
  Apart([] {
    ASSERT_EQ(Set({.policy = kIdle, .nice = 5}), 0);
    EXPECT_EQ(Now().policy, kIdle);
    EXPECT_EQ(Now().nice, 0);
  });
}

TEST(SchedPolicy, NoWayBackFromIdle) {
  AsUser([] {
    const rlimit none{0, 0};
    ASSERT_EQ(setrlimit(RLIMIT_NICE, &none), 0);
    ASSERT_EQ(SetScheduler(kIdle, 0), 0);
    EXPECT_FAILS(SetScheduler(kOther, 0), EPERM);
    EXPECT_FAILS(SetScheduler(kBatch, 0), EPERM);
    EXPECT_EQ(SetScheduler(kIdle, 0), 0);
  });
}

TEST(SchedPolicy, MoreThanIsKnownMustBeZero) {
  Apart([] {
    struct {
      Attr attr{.size = 64};
      uint64_t more = 0;
    } larger;
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &larger, 0), 0);
    larger.more = 1;
    EXPECT_FAILS(syscall(SYS_sched_setattr, 0, &larger, 0), E2BIG);
    EXPECT_EQ(larger.attr.size, sizeof(Attr));
    EXPECT_FAILS(Set({.size = 48, .flags = kUtilMin}), EINVAL);
  });
}

}  // namespace
