#include "platform/registry/registry.h"

#include <gtest/gtest.h>

namespace rampart::platform {
namespace {

TEST(Registry, FindsByName) {
  const PlatformInfo* info = FindPlatform("ptrace");
  ASSERT_NE(info, nullptr);
  EXPECT_STREQ(info->name, "ptrace");
}

TEST(Registry, UnknownNameIsNull) { EXPECT_EQ(FindPlatform("systrap2"), nullptr); }

TEST(Registry, AutoFindsOne) { EXPECT_NE(FindPlatform("auto"), nullptr); }

TEST(Registry, EveryPlatformIsComplete) {
  for (const PlatformInfo* info : Platforms()) {
    EXPECT_NE(info->why_unavailable, nullptr);
    EXPECT_NE(info->create, nullptr);
    EXPECT_FALSE(info->needed_syscalls().empty());
  }
}

TEST(ChoosePlatform, SaysWhyNot) {
  std::string why;
  EXPECT_EQ(ChoosePlatform("vax", &why), nullptr);
  EXPECT_EQ(why, "there is no platform 'vax' (known: auto, kvm, ptrace)");
  const PlatformInfo* found = ChoosePlatform("ptrace", &why);
  EXPECT_EQ(found == nullptr, !why.empty());
}

}  // namespace
}  // namespace rampart::platform
