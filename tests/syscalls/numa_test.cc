// Memory policies and the placement of pages, on a machine with one node.
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

constexpr size_t kPage = 4096;
#ifndef MPOL_PREFERRED_MANY
constexpr int MPOL_PREFERRED_MANY = 5;
#endif

long Set(int mode, const unsigned long* nodes, unsigned long max) { return syscall(SYS_set_mempolicy, mode, nodes, max); }
long Get(int* mode, unsigned long* nodes, unsigned long max, void* address = nullptr, unsigned long flags = 0) {
  return syscall(SYS_get_mempolicy, mode, nodes, max, address, flags);
}
long Bind(void* at, size_t n, unsigned long mode, const unsigned long* nodes, unsigned long max, unsigned flags = 0) {
  return syscall(SYS_mbind, at, n, mode, nodes, max, flags);
}
long Move(pid_t pid, unsigned long n, void** pages, const int* nodes, int* status, int flags) {
  return syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);
}

class Numa : public testing::Test {
 protected:
  void SetUp() override {
    int mode = 0;
    if (Get(&mode, nullptr, 0) != 0 && errno == ENOSYS) GTEST_SKIP() << "a kernel without NUMA";
    unsigned long allowed[16] = {};
    ASSERT_WORKS(Get(nullptr, allowed, 1024, nullptr, MPOL_F_MEMS_ALLOWED));
    if (allowed[0] != 1) GTEST_SKIP() << "more than one node";
    map_ = static_cast<char*>(mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(map_, MAP_FAILED);
  }
  void TearDown() override {
    Set(MPOL_DEFAULT, nullptr, 0);
    if (map_ != nullptr) munmap(map_, 8 * kPage);
  }
  char* map_ = nullptr;
  unsigned long zero_ = 1, one_ = 2, both_ = 3, none_ = 0;
};

TEST_F(Numa, ThreadsPolicyIsRememberedAndReported) {
  int mode = 77;
  unsigned long nodes = 77;
  ASSERT_WORKS(Get(&mode, &nodes, 64));
  EXPECT_EQ(mode, MPOL_DEFAULT);
  EXPECT_EQ(nodes, 0u);
  for (const int wanted : {int{MPOL_BIND}, int{MPOL_INTERLEAVE}, int{MPOL_PREFERRED}, int{MPOL_PREFERRED_MANY}}) {
    ASSERT_WORKS(Set(wanted, &zero_, 64)) << wanted;
    ASSERT_WORKS(Get(&mode, &nodes, 64));
    EXPECT_EQ(mode, wanted);
    EXPECT_EQ(nodes, 1u);
  }
  ASSERT_WORKS(Set(MPOL_BIND, &both_, 64));  // what is not there is left out
  ASSERT_WORKS(Get(&mode, &nodes, 64));
  EXPECT_EQ(nodes, 1u);
  ASSERT_WORKS(Set(MPOL_BIND | MPOL_F_STATIC_NODES, &both_, 64));
  ASSERT_WORKS(Get(&mode, &nodes, 64));
  EXPECT_EQ(mode, MPOL_BIND | MPOL_F_STATIC_NODES);
  EXPECT_EQ(nodes, 3u);
  ASSERT_WORKS(Set(MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, &one_, 64));
  ASSERT_WORKS(Get(&mode, &nodes, 64));
  EXPECT_EQ(mode, MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES);
  EXPECT_EQ(nodes, 2u);
  ASSERT_WORKS(Set(MPOL_PREFERRED, nullptr, 0));
  ASSERT_WORKS(Get(&mode, &nodes, 64));
  EXPECT_EQ(mode, MPOL_LOCAL);
  EXPECT_EQ(nodes, 0u);
  ASSERT_WORKS(Set(MPOL_LOCAL, &none_, 64));
  ASSERT_WORKS(Set(MPOL_DEFAULT, nullptr, 0));
}

TEST_F(Numa, PoliciesThatCannotBe) {
  EXPECT_FAILS(Set(99, &zero_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_DEFAULT, &zero_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND, nullptr, 0), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND, &none_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND, &one_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_INTERLEAVE, &one_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_LOCAL, &zero_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, &zero_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_PREFERRED | MPOL_F_STATIC_NODES, nullptr, 0), EINVAL);
  EXPECT_FAILS(Set(MPOL_INTERLEAVE | MPOL_F_NUMA_BALANCING, &zero_, 64), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND, &zero_, 8 * kPage + 2), EINVAL);
  EXPECT_FAILS(Set(MPOL_BIND, reinterpret_cast<unsigned long*>(8), 64), EFAULT);
  // One bit fewer than said is looked at.
  EXPECT_FAILS(Set(MPOL_BIND, &zero_, 1), EINVAL);
  EXPECT_WORKS(Set(MPOL_BIND, &zero_, 2));
}

TEST_F(Numa, GetChecksItsArguments) {
  int mode = 0;
  unsigned long nodes[16] = {~0ul, ~0ul};
  EXPECT_FAILS(Get(&mode, nodes, 0), EINVAL);
  EXPECT_FAILS(Get(&mode, nodes, 64, nullptr, 8), EINVAL);
  EXPECT_FAILS(Get(&mode, nodes, 64, map_), EINVAL);
  EXPECT_FAILS(Get(&mode, nodes, 64, nullptr, MPOL_F_MEMS_ALLOWED | MPOL_F_ADDR), EINVAL);
  EXPECT_FAILS(Get(&mode, nodes, 64, nullptr, MPOL_F_NODE), EINVAL);
  EXPECT_FAILS(Get(&mode, nodes, 64, nullptr, MPOL_F_ADDR), EFAULT);
  EXPECT_FAILS(Get(reinterpret_cast<int*>(8), nullptr, 0), EFAULT);
  ASSERT_WORKS(Get(&mode, nodes, 129, nullptr, MPOL_F_MEMS_ALLOWED));
  EXPECT_EQ(nodes[0], 1u);
  EXPECT_EQ(nodes[1], 0u);
  ASSERT_WORKS(Set(MPOL_INTERLEAVE, &zero_, 64));
  mode = 77;
  ASSERT_WORKS(Get(&mode, nullptr, 0, nullptr, MPOL_F_NODE));
  EXPECT_EQ(mode, 0);
}

TEST_F(Numa, AreasHaveTheirOwnPolicies) {
  int mode = 0;
  unsigned long nodes = 0;
  ASSERT_WORKS(Bind(map_ + 2 * kPage, 2 * kPage, MPOL_BIND, &zero_, 64));
  ASSERT_WORKS(Get(&mode, &nodes, 64, map_ + 3 * kPage, MPOL_F_ADDR));
  EXPECT_EQ(mode, MPOL_BIND);
  EXPECT_EQ(nodes, 1u);
  ASSERT_WORKS(Get(&mode, &nodes, 64, map_ + kPage, MPOL_F_ADDR));
  EXPECT_EQ(mode, MPOL_DEFAULT);
  map_[2 * kPage] = 1;
  mode = 77;
  ASSERT_WORKS(Get(&mode, nullptr, 0, map_ + 2 * kPage, MPOL_F_NODE | MPOL_F_ADDR));
  EXPECT_EQ(mode, 0);
  std::ifstream maps("/proc/self/numa_maps");
  char head[32];
  snprintf(head, sizeof(head), "%lx ", reinterpret_cast<unsigned long>(map_ + 2 * kPage));
  bool seen = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(head) == 0 || line.find(std::string("0") + head) != std::string::npos) {
      seen = true;
      EXPECT_NE(line.find(" bind:0"), std::string::npos) << line;
      EXPECT_NE(line.find(" anon="), std::string::npos) << line;
      EXPECT_NE(line.find(" N0="), std::string::npos) << line;
    }
  }
  EXPECT_TRUE(seen);
  ASSERT_WORKS(Bind(map_, 8 * kPage, MPOL_DEFAULT, nullptr, 0));
  ASSERT_WORKS(Get(&mode, &nodes, 64, map_ + 2 * kPage, MPOL_F_ADDR));
  EXPECT_EQ(mode, MPOL_DEFAULT);
}

TEST_F(Numa, BindChecksItsArguments) {
  EXPECT_FAILS(Bind(map_ + 1, kPage, MPOL_BIND, &zero_, 64), EINVAL);
  EXPECT_FAILS(Bind(map_, kPage, MPOL_BIND, &one_, 64), EINVAL);
  EXPECT_FAILS(Bind(map_, kPage, MPOL_BIND, &zero_, 64, 16), EINVAL);
  EXPECT_FAILS(Bind(map_, -kPage, MPOL_BIND, &zero_, 64), EINVAL);
  EXPECT_WORKS(Bind(map_, 0, MPOL_BIND, &zero_, 64));
  ASSERT_WORKS(munmap(map_ + 3 * kPage, kPage));
  EXPECT_FAILS(Bind(map_, 8 * kPage, MPOL_BIND, &zero_, 64), EFAULT);
  EXPECT_WORKS(Bind(map_, 8 * kPage, MPOL_DEFAULT, nullptr, 0));
  EXPECT_WORKS(Bind(map_, kPage, MPOL_BIND, &zero_, 64, MPOL_MF_STRICT | MPOL_MF_MOVE));
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    IN_CHILD_FAILS(Bind(map_, kPage, MPOL_BIND, &zero_, 64, MPOL_MF_MOVE_ALL), EPERM);
    return 0;
  }), 0);
}

TEST_F(Numa, TheNodeIsInSysfs) {
  std::ifstream in("/sys/devices/system/node/node0/meminfo");
  std::string word, number, name;
  unsigned long total = 0;
  in >> word >> number >> name >> total;
  EXPECT_EQ(word + " " + number + " " + name, "Node 0 MemTotal:");
  EXPECT_GT(total, 0u);
}

TEST_F(Numa, HomeNodes) {
  const auto home = [&](void* at, size_t n, unsigned long node, unsigned long flags = 0) {
    return syscall(SYS_set_mempolicy_home_node, at, n, node, flags);
  };
  EXPECT_FAILS(home(map_, kPage, 0), ENOENT);
  EXPECT_FAILS(home(map_ + 1, kPage, 0), EINVAL);
  EXPECT_FAILS(home(map_, kPage, 0, 1), EINVAL);
  EXPECT_FAILS(home(map_, kPage, 63), EINVAL);
  EXPECT_WORKS(home(map_, 0, 0));
  ASSERT_WORKS(Bind(map_, kPage, MPOL_BIND, &zero_, 64));
  EXPECT_WORKS(home(map_, kPage, 0));
  ASSERT_WORKS(Bind(map_ + kPage, kPage, MPOL_INTERLEAVE, &zero_, 64));
  EXPECT_FAILS(home(map_ + kPage, kPage, 0), EOPNOTSUPP);
}

TEST_F(Numa, PolicyIsInheritedByThreadsAndChildren) {
  ASSERT_WORKS(Set(MPOL_BIND, &zero_, 64));
  std::thread([] {
    int mode = 0;
    EXPECT_WORKS(Get(&mode, nullptr, 0));
    EXPECT_EQ(mode, MPOL_BIND);
    EXPECT_WORKS(Set(MPOL_DEFAULT, nullptr, 0));
  }).join();
  EXPECT_EQ(scratch::InChild([] {
    int mode = 0;
    IN_CHILD(Get(&mode, nullptr, 0) == 0 && mode == MPOL_BIND);
    return 0;
  }), 0);
}

TEST_F(Numa, MovePagesTellsWhereTheyAre) {
  map_[0] = map_[kPage] = 1;
  void* pages[4] = {map_, map_ + kPage, reinterpret_cast<void*>(8), map_ + 1};
  int status[4] = {77, 77, 77, 77};
  ASSERT_WORKS(Move(0, 4, pages, nullptr, status, 0));
  EXPECT_EQ(status[0], 0);
  EXPECT_EQ(status[1], 0);
  EXPECT_EQ(status[2], -EFAULT);
  EXPECT_EQ(status[3], 0);
  const int nodes[4] = {};
  ASSERT_WORKS(Move(getpid(), 2, pages, nodes, status, MPOL_MF_MOVE));
  EXPECT_EQ(status[0], 0);
  const int wrong[2] = {0, 63};
  EXPECT_FAILS(Move(0, 2, pages, wrong, status, MPOL_MF_MOVE), ENODEV);
  const int negative[2] = {-1, 0};
  EXPECT_FAILS(Move(0, 2, pages, negative, status, MPOL_MF_MOVE), ENODEV);
  EXPECT_FAILS(Move(0, 2, pages, nullptr, status, 1), EINVAL);
  EXPECT_FAILS(Move(0x3fffffff, 2, pages, nullptr, status, 0), ESRCH);
  EXPECT_FAILS(Move(0, 2, reinterpret_cast<void**>(8), nullptr, status, 0), EFAULT);
  EXPECT_WORKS(Move(0, 0, nullptr, nullptr, nullptr, 0));
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    IN_CHILD_FAILS(Move(1, 2, pages, nullptr, status, 0), EPERM);
    IN_CHILD_FAILS(Move(0, 2, pages, nodes, status, MPOL_MF_MOVE_ALL), EPERM);
    return 0;
  }), 0);
}

TEST_F(Numa, MigratePages) {
  const auto migrate = [](pid_t pid, unsigned long max, unsigned long* from, unsigned long* to) {
    return syscall(SYS_migrate_pages, pid, max, from, to);
  };
  EXPECT_WORKS(migrate(0, 64, &zero_, &zero_));
  EXPECT_WORKS(migrate(getpid(), 64, &zero_, &both_));
  EXPECT_FAILS(migrate(0, 64, &zero_, &one_), EINVAL);
  EXPECT_FAILS(migrate(0, 64, &zero_, &none_), EINVAL);
  EXPECT_FAILS(migrate(0x3fffffff, 64, &zero_, &zero_), ESRCH);
  EXPECT_FAILS(migrate(0, 64, reinterpret_cast<unsigned long*>(8), &zero_), EFAULT);
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    IN_CHILD_FAILS(migrate(1, 64, &zero_, &zero_), EPERM);
    IN_CHILD_FAILS(migrate(0, 64, &zero_, &both_), EPERM);
    return 0;
  }), 0);
}

TEST_F(Numa, MovingIsNotInterrupted) {
  constexpr size_t kPages = 3000;
  std::vector<void*> pages(kPages, map_);
  std::vector<int> nodes(kPages, 0), status(kPages, -1);
  map_[0] = 1;
  signal(SIGALRM, [](int) {});
  const itimerval often{{0, 500}, {0, 500}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  for (int i = 0; i < 300; ++i) {
    const long moved = Move(0, kPages, pages.data(), nodes.data(), status.data(), MPOL_MF_MOVE);
    EXPECT_NE(moved == -1 ? errno : 0, EINTR);
    if (HasFailure()) break;
  }
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  signal(SIGALRM, SIG_DFL);
}

}  // namespace
