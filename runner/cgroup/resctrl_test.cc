#include "runner/cgroup/resctrl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runner/util/files.h"

namespace rampart::runner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

// A directory like a mounted resctrl: what the kernel makes in a new group is made beforehand, where a group is to be entered.
class Resctrl : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "resctrl";
    fs::remove_all(root_);
    for (const char* part : {"info/L3", "info/MB", "info/L3_MON", "mon_groups"}) fs::create_directories(root_ + "/" + part);
  }
  void TearDown() override { fs::remove_all(root_); }
  void Group(const std::string& name, const std::string& schemata) {
    fs::create_directories(root_ + "/" + name + "/mon_groups");
    std::ofstream(root_ + "/" + name + "/schemata") << schemata;
    std::ofstream(root_ + "/" + name + "/tasks");
  }
  std::string Read(const std::string& name) { return ReadSmallFile(root_ + "/" + name).value_or("?"); }
  std::string ErrorOf(const oci::IntelRdt& wanted) {
    const auto plan = PlanResctrl(root_, wanted, "box");
    return plan.ok() ? "no error" : std::string(plan.status().message());
  }
  std::string root_;
};

TEST(FindResctrl, IsAFilesystemOfThatType) {
  const auto found = FindResctrlIn("30 25 0:26 / /sys rw - sysfs sysfs rw\n31 30 0:27 / /sys/fs/resctrl rw shared:5 - resctrl resctrl rw\n");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, "/sys/fs/resctrl");
  EXPECT_THAT(std::string(FindResctrlIn("30 25 0:26 / /sys rw - sysfs resctrl rw\n").status().message()), HasSubstr("$.linux.intelRdt: resctrl is not mounted"));
}

TEST_F(Resctrl, AGroupIsNamedAfterTheContainerAndGoesWithIt) {
  const auto plan = PlanResctrl(root_, {.l3_cache_schema = "L3:0=f\nMB:0=10", .mem_bw_schema = "MB:0=50"}, "box");
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->directory, root_ + "/box");
  EXPECT_THAT(plan->schemata, ElementsAre("L3:0=f", "MB:0=50"));
  EXPECT_THAT(plan->Removable(), ElementsAre(root_ + "/box"));
  Group("box", "L3:0=ff\nMB:0=100\n");
  ASSERT_TRUE(EnterResctrl(*plan, 42).ok());
  EXPECT_EQ(Read("box/schemata").substr(0, 15), "L3:0=f\nMB:0=50\n");
  EXPECT_EQ(Read("box/tasks"), "42");
}

TEST_F(Resctrl, ANamedGroupMustBeThereOrHaveASchema) {
  EXPECT_THAT(ErrorOf({.clos_id = "gold"}), HasSubstr("$.linux.intelRdt.closID: there is no group"));
  EXPECT_EQ(ErrorOf({.clos_id = "gold", .l3_cache_schema = "L3:0=f"}), "no error");
  Group("gold", "    L3:0=00f;1=0ff\n    MB:0= 50\n");
  const auto plan = PlanResctrl(root_, {.clos_id = "gold"}, "box");
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(plan->Removable(), IsEmpty());
  ASSERT_TRUE(EnterResctrl(*plan, 43).ok());
  EXPECT_EQ(Read("gold/schemata"), "    L3:0=00f;1=0ff\n    MB:0= 50\n");
  EXPECT_EQ(Read("gold/tasks"), "43");
}

TEST_F(Resctrl, ANamedGroupMustHaveTheSharesThatAreAskedFor) {
  Group("gold", "    L3:0=00f;1=0ff\n    MB:0= 50\n");
  EXPECT_EQ(ErrorOf({.clos_id = "gold", .l3_cache_schema = "L3:0=F;1=ff", .mem_bw_schema = "MB:0=50"}), "no error");
  EXPECT_THAT(ErrorOf({.clos_id = "gold", .l3_cache_schema = "L3:1=f"}), HasSubstr("other shares than L3:1=f"));
  EXPECT_THAT(ErrorOf({.clos_id = "gold", .l3_cache_schema = "L2:0=f"}), HasSubstr("other shares"));
}

TEST_F(Resctrl, WhatTheProcessorsCannotDoIsRefused) {
  fs::remove_all(root_ + "/info");
  EXPECT_THAT(ErrorOf({.l3_cache_schema = "L3:0=f"}), HasSubstr("$.linux.intelRdt.l3CacheSchema"));
  EXPECT_THAT(ErrorOf({.mem_bw_schema = "MB:0=50"}), HasSubstr("$.linux.intelRdt.memBwSchema"));
  EXPECT_THAT(ErrorOf({.enable_cmt = true}), HasSubstr("$.linux.intelRdt.enableCMT"));
  EXPECT_THAT(ErrorOf({.enable_mbm = true}), HasSubstr("$.linux.intelRdt.enableMBM"));
}

TEST_F(Resctrl, NamesStayInside) {
  for (const char* name : {"", ".", "..", "../x", "a/b", "a\nb"}) EXPECT_THAT(ErrorOf({.clos_id = name, .l3_cache_schema = "L3:0=f"}), HasSubstr("$.linux.intelRdt.closID")) << name;
  EXPECT_THAT(ErrorOf({.mem_bw_schema = "L3:0=f"}), HasSubstr("$.linux.intelRdt.memBwSchema"));
  EXPECT_THAT(ErrorOf({.mem_bw_schema = "MB:0=50\nL3:0=f"}), HasSubstr("$.linux.intelRdt.memBwSchema"));
}

TEST_F(Resctrl, MonitoringIsAGroupOfTheContainersOwn) {
  Group("gold", "L3:0=f\n");
  fs::create_directories(root_ + "/gold/mon_groups/box");
  std::ofstream(root_ + "/gold/mon_groups/box/tasks");
  const auto plan = PlanResctrl(root_, {.clos_id = "gold", .enable_cmt = true}, "box");
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_THAT(plan->Removable(), ElementsAre(root_ + "/gold/mon_groups/box"));
  ASSERT_TRUE(EnterResctrl(*plan, 44).ok());
  EXPECT_EQ(Read("gold/mon_groups/box/tasks"), "44");
}

}  // namespace
}  // namespace rampart::runner
