#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/namespaces/clone.h"
#include "runner/namespaces/id_map.h"
#include "runner/namespaces/mounts.h"
#include "runner/namespaces/privileges.h"
#include "runner/namespaces/security_label.h"

namespace rampart::runner {
namespace {

TEST(IdMap, ParsesTheKernelsFormat) {
  const auto ranges = ParseIdMap("         0       1000          1\n         1     100000      65536\n");
  ASSERT_TRUE(ranges.ok());
  ASSERT_EQ(ranges->size(), 2u);
  EXPECT_EQ((*ranges)[1].outside, 100000u);
  EXPECT_TRUE(Contains(*ranges, 65536));
  EXPECT_FALSE(Contains(*ranges, 65537));
  EXPECT_FALSE(ParseIdMap("0 1\n").ok());
}

TEST(MountInfo, DecodesPathsAndTypes) {
  const auto mounts = ParseMountInfo(
      "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n23 22 0:5 / /a\\040b\\134c rw shared:1 master:2 - proc none rw\nrubbish\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[1].mount_point, "/a b\\c");
  EXPECT_EQ(mounts[1].type, "proc");
  EXPECT_TRUE(IsKernelFilesystem("sysfs"));
  EXPECT_FALSE(IsKernelFilesystem("ext4"));
}

TEST(SecurityLabel, NoneAsksForNothing) {
  EXPECT_TRUE(CheckProfile("").ok());
  EXPECT_TRUE(CheckProfile("unconfined").ok());
  EXPECT_TRUE(CheckSelinuxLabel("").ok());
  EXPECT_EQ(PartOfProfile("unconfined", "sentry"), "");
  auto change = LabelChange::Prepare({});
  ASSERT_TRUE(change.ok()) << change.status().message();
  EXPECT_TRUE(std::move(*change).Carry().ok());
}

TEST(SecurityLabel, WhatTheHostDoesNotHaveIsNotTakenOn) {
  EXPECT_FALSE(CheckProfile("no-such-profile-here").ok());
  EXPECT_FALSE(CheckProfile("two\nlines").ok());
  EXPECT_FALSE(CheckSelinuxLabel("no:such:label").ok());
  EXPECT_EQ(PartOfProfile("no-such-profile-here", "sentry"), "no-such-profile-here");
}

TEST(CloneChild, TheChildHasItsOwnNamespaces) {
  const auto child = CloneChild(AllNamespaces(), [] { ::_exit(::getpid() == 1 ? 7 : 8); });
  if (!child.ok()) GTEST_SKIP() << child.status().message();
  int status = 0;
  ASSERT_EQ(::waitpid(child->pid, &status, 0), child->pid);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Privileges, DropLeavesExactlyWhatIsKept) {
  const auto child = CloneChild(AllNamespaces(), [] {
    if (!DropCapabilities(1 << 2).ok() || !DieWithParent().ok() || !LimitResources().ok()) ::_exit(1);
    const Privileges now = ReadPrivileges();
    const bool good = now.effective == 4 && now.permitted == 4 && now.bounding == 4 && now.inheritable == 0 && now.ambient == 0;
    ::_exit(good && now.no_new_privs ? 0 : 2);
  });
  if (!child.ok()) GTEST_SKIP() << child.status().message();
  int status = 0;
  ASSERT_EQ(::waitpid(child->pid, &status, 0), child->pid);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace rampart::runner
