// membarrier(2).
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

constexpr int kQuery = 0, kGlobal = 1, kGlobalExpedited = 2, kRegisterGlobalExpedited = 4, kPrivateExpedited = 8, kRegisterPrivateExpedited = 16,
              kGetRegistrations = 512;

long Membarrier(int command, unsigned flags = 0) { return syscall(SYS_membarrier, command, flags, 0); }

TEST(Membarrier, QueryTellsTheUsualCommands) {
  const long offered = Membarrier(kQuery);
  ASSERT_GT(offered, 0);
  for (const int command : {kGlobal, kGlobalExpedited, kRegisterGlobalExpedited, kPrivateExpedited, kRegisterPrivateExpedited, kGetRegistrations}) {
    EXPECT_EQ(offered & command, command);
  }
}

TEST(Membarrier, RefusesWhatItDoesNotKnow) {
  EXPECT_FAILS(Membarrier(kQuery, 1), EINVAL);
  EXPECT_FAILS(Membarrier(1 << 20), EINVAL);
  EXPECT_FAILS(Membarrier(kGlobal | kGlobalExpedited), EINVAL);
  EXPECT_FAILS(Membarrier(-1), EINVAL);
}

TEST(Membarrier, PrivateExpeditedWantsARegistrationWhichForkInheritsAndExecDoesNot) {
  EXPECT_EQ(scratch::InChild([] {
    IN_CHILD_FAILS(Membarrier(kPrivateExpedited), EPERM);
    IN_CHILD(Membarrier(kRegisterPrivateExpedited) == 0);
    IN_CHILD(Membarrier(kPrivateExpedited) == 0);
    IN_CHILD(Membarrier(kGetRegistrations) == kRegisterPrivateExpedited);
    IN_CHILD(scratch::InChild([] {
               IN_CHILD(Membarrier(kGetRegistrations) == kRegisterPrivateExpedited);
               IN_CHILD(Membarrier(kPrivateExpedited) == 0);
               return 0;
             }) == 0);
    return 0;
  }), 0);
  EXPECT_EQ(Membarrier(kGetRegistrations), 0);
}

TEST(Membarrier, GlobalOnesNeedNoRegistration) {
  EXPECT_EQ(Membarrier(kGlobal), 0);
  EXPECT_EQ(Membarrier(kGlobalExpedited), 0);
  EXPECT_EQ(scratch::InChild([] {
    IN_CHILD(Membarrier(kRegisterGlobalExpedited) == 0);
    IN_CHILD(Membarrier(kGlobalExpedited) == 0);
    IN_CHILD(Membarrier(kGetRegistrations) == kRegisterGlobalExpedited);
    return 0;
  }), 0);
}

// Dekker's lock with the barrier on one side only: the fast side has no fence of its own. Without the barrier both get in at once.
TEST(Membarrier, OrdersTheOtherThreadsAccesses) {
  ASSERT_EQ(Membarrier(kRegisterPrivateExpedited), 0);
  struct alignas(64) Flag {
    volatile int value = 0;
  };
  static Flag fast, slow;
  std::atomic<bool> done{false};
  std::atomic<long> inside_fast{0};
  static volatile int owners = 0;
  std::atomic<int> clashes{0};
  std::thread other([&] {
    while (!done.load(std::memory_order_relaxed)) {
      fast.value = 1;
      asm volatile("" ::: "memory");
      if (slow.value == 0) {
        owners = owners + 1;
        if (owners != 1) ++clashes;
        owners = owners - 1;
        inside_fast.fetch_add(1, std::memory_order_relaxed);
      }
      asm volatile("" ::: "memory");
      fast.value = 0;
      for (int i = 0; i < 20; ++i) asm volatile("pause");
    }
  });
  for (int i = 0; i < 300; ++i) {
    slow.value = 1;
    ASSERT_EQ(Membarrier(kPrivateExpedited), 0);
    while (fast.value != 0) asm volatile("pause");
    owners = owners + 1;
    if (owners != 1) ++clashes;
    for (int k = 0; k < 50; ++k) asm volatile("pause");
    owners = owners - 1;
    asm volatile("" ::: "memory");
    slow.value = 0;
    if (i % 16 == 0) std::this_thread::yield();
  }
  done = true;
  other.join();
  EXPECT_EQ(clashes, 0);
}

TEST(Membarrier, ReturnsWhileOthersSleepStartAndEnd) {
  ASSERT_EQ(Membarrier(kRegisterPrivateExpedited), 0);
  int pipes[2];
  ASSERT_WORKS(pipe(pipes));
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 3; ++i) {
    sleepers.emplace_back([&] {
      char c;
      EXPECT_EQ(read(pipes[0], &c, 1), 1);
    });
  }
  for (int i = 0; i < 50; ++i) {
    std::thread shortly([] {});
    EXPECT_EQ(Membarrier(kPrivateExpedited), 0);
    shortly.join();
  }
  EXPECT_EQ(write(pipes[1], "abc", 3), 3);
  for (std::thread& t : sleepers) t.join();
}

}  // namespace
