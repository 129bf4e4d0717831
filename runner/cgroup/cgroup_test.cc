#include "runner/cgroup/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runner/util/files.h"

namespace rampart::runner {
namespace {

using testing::HasSubstr;

constexpr char kV1[] =
    "30 25 0:26 / /nowhere/memory rw,relatime - cgroup cgroup rw,memory\n"
    "31 25 0:27 /docker/x /nowhere/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 25 0:28 / /nowhere/unified rw - cgroup2 cgroup2 rw\n";

TEST(FindPlaces, V1HierarchiesByController) {
  const auto places = FindPlaces(kV1, "4:memory:/\n3:cpu,cpuacct:/docker/x\n0::/\n", {"memory", "cpu"});
  ASSERT_EQ(places.size(), 2u);
  EXPECT_FALSE(places[0].v2);
  EXPECT_EQ(places[0].parent, "/nowhere/memory");
  EXPECT_EQ(places[1].parent, "/nowhere/cpu");
}

TEST(FindPlaces, WhatV1DoesNotHaveIsSoughtInV2) {
  const auto places = FindPlaces(kV1, "0::/user.slice/a.scope\n", {"pids"});
  ASSERT_EQ(places.size(), 1u);
  EXPECT_TRUE(places[0].v2);
  EXPECT_EQ(places[0].parent, "/nowhere/unified");  // the directory of the scope does not exist here
}

TEST(FindPlaces, AGroupOutsideOfTheNamespaceIsNotFollowedUpwards) {
  const auto places = FindPlaces("32 25 0:28 / /sys rw - cgroup2 cgroup2 rw\n", "0::/../kernel\n", {"pids"});
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(places[0].parent, "/sys");
}

TEST(FindPlaces, NoHierarchyNoPlace) { EXPECT_TRUE(FindPlaces("", "", {"cpu"}).empty()); }

TEST(Cgroup, WithoutLimitsMakesNothing) {
  auto group = Cgroup::Create("rampart-test-none", {});
  ASSERT_TRUE(group.ok());
  EXPECT_TRUE(group->empty());
}

TEST(Cgroup, LimitsAProcessAndIsGoneAfterwards) {
  const std::string name = absl::StrCat("rampart-test-", ::getpid());
  auto group = Cgroup::Create(name, {.memory_bytes = 64 << 20, .cpu_quota = 50'000, .tasks = 20});
  if (!group.ok()) GTEST_SKIP() << "no cgroups to be had here: " << group.status().message();
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_TRUE(group->Add(child).ok());
  const auto membership = ReadSmallFile(absl::StrCat("/proc/", child, "/cgroup"));
  ASSERT_TRUE(membership.ok());
  EXPECT_THAT(*membership, HasSubstr(name));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const std::vector<std::string> directories = group->directories();
  EXPECT_FALSE(directories.empty());
  group->Remove();
  for (const std::string& directory : directories) EXPECT_NE(::access(directory.c_str(), F_OK), 0) << directory;
}

}  // namespace
}  // namespace rampart::runner
