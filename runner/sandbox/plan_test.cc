#include "runner/sandbox/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runner/sandbox/capability_names.h"
#include "runner/sandbox/child_config.h"

namespace rampart::runner {
namespace {

using testing::HasSubstr;

oci::Spec TestSpec() {
  oci::Spec spec;
  spec.process.emplace().args = {"true"};
  spec.process->cwd = "/";
  spec.root = oci::Root{"/", false};
  return spec;
}

std::string ErrorOf(const oci::Spec& spec) {
  const auto plan = MakePlan(spec, {}, {});
  return plan.ok() ? "no error" : std::string(plan.status().message());
}

TEST(Plan, TheRootIsReadOnlyOnTheHostAndOverlaid) {
  const auto plan = MakePlan(TestSpec(), {}, {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ(plan->exports.size(), 1u);
  EXPECT_TRUE(plan->exports[0].readonly);
  EXPECT_FALSE(plan->any_writable);
  EXPECT_TRUE(plan->boot.mounts[0].overlay);
  EXPECT_FALSE(plan->boot.mounts[0].readonly);
  EXPECT_EQ(plan->boot.mounts[0].destination, "/");
}

TEST(Plan, AWritableBindIsSharedAndWidensTheGofersPowers) {
  oci::Spec spec = TestSpec();
  const auto before = MakePlan(spec, {}, {});
  spec.mounts.push_back({"/x/./y", "bind", "/tmp", {"rbind", "rw"}});
  const auto plan = MakePlan(spec, {}, {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_FALSE(plan->exports[1].readonly);
  EXPECT_EQ(plan->boot.mounts[1].destination, "/x/y");
  EXPECT_EQ(plan->boot.mounts[1].access, sentry::boot::FileAccess::kShared);
  EXPECT_GT(plan->gofer_capabilities, before->gofer_capabilities);
}

TEST(Plan, OrdinaryUsersGofersHaveNoCapabilities) {
  Caller caller;
  caller.uid = 1000;
  oci::Spec spec = TestSpec();
  spec.mounts.push_back({"/x", "bind", "/tmp", {"rw"}});
  EXPECT_EQ(MakePlan(spec, {}, caller)->gofer_capabilities, 0u);
}

TEST(Plan, FilesCanBeBoundDevicesCannot) {
  oci::Spec spec = TestSpec();
  spec.mounts.push_back({"/p", "bind", "/etc/passwd", {"ro"}});
  EXPECT_FALSE(MakePlan(spec, {}, {})->boot.mounts[1].attach_is_directory);
  spec.mounts[0].source = "/dev/null";
  EXPECT_THAT(ErrorOf(spec), HasSubstr("neither a directory nor a regular file"));
}

TEST(Plan, LimitsReachTheKernelAndWiderOnesTheHost) {
  oci::Spec spec = TestSpec();
  spec.linux_config.resources.emplace();
  spec.linux_config.resources->memory.emplace().limit = 64 << 20;
  spec.linux_config.resources->pids = oci::PidsResources{10};
  spec.linux_config.resources->cpu.emplace().quota = 150'000;
  const auto plan = MakePlan(spec, {}, {});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->boot.limits.memory_bytes, uint64_t{64} << 20);
  EXPECT_GT(plan->cgroup.memory_bytes, uint64_t{64} << 20);
  EXPECT_EQ(plan->boot.limits.pids, 10u);
  EXPECT_EQ(plan->boot.limits.cpus, 2u);
}

TEST(Plan, BadMountsAreNamed) {
  oci::Spec spec = TestSpec();
  spec.mounts.push_back({"/", "tmpfs", "", {}});
  EXPECT_THAT(ErrorOf(spec), HasSubstr("hide the root"));
  spec.mounts[0] = {"/x", "ext4", "", {}};
  EXPECT_THAT(ErrorOf(spec), HasSubstr("type 'ext4'"));
  spec.mounts[0] = {"/x", "tmpfs", "", {"frob"}};
  EXPECT_THAT(ErrorOf(spec), HasSubstr("option 'frob'"));
  spec.mounts[0] = {"/x", "tmpfs", "", {"mode=9"}};
  EXPECT_THAT(ErrorOf(spec), HasSubstr("octal"));
}

TEST(Plan, AnIdmappedMountHasItsOwnOwnersOrTheContainers) {
  oci::Spec spec = TestSpec();
  spec.linux_config.uid_mappings = spec.linux_config.gid_mappings = {{0, 100000, 65536}};
  oci::Mount own{"/own", "bind", "/tmp", {"rbind", "ridmap"}};
  own.uid_mappings = own.gid_mappings = {{5, 1000, 1}};
  spec.mounts = {own, {"/theirs", "bind", "/tmp", {"bind", "idmap"}}, {"/plain", "bind", "/tmp", {"bind"}}};
  const auto plan = MakePlan(spec, {}, {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  ASSERT_EQ(plan->exports.size(), 4u);
  EXPECT_TRUE(plan->exports[0].owners.uids.empty());
  EXPECT_THAT(plan->exports[1].owners.uids, testing::ElementsAre(IdRange{5, 1000, 1}));
  EXPECT_TRUE(plan->exports[1].owners_below);
  EXPECT_THAT(plan->exports[2].owners.gids, testing::ElementsAre(IdRange{0, 100000, 65536}));
  EXPECT_FALSE(plan->exports[2].owners_below);
  EXPECT_TRUE(plan->exports[3].owners.uids.empty());
  spec.linux_config = {};
  EXPECT_THAT(ErrorOf(spec), HasSubstr("/theirs: idmap needs"));
  spec.mounts[1] = {"/x", "tmpfs", "", {"idmap"}};
  EXPECT_THAT(ErrorOf(spec), HasSubstr("only bind mounts"));
}

TEST(CleanPath, StaysBelowTheTop) {
  EXPECT_EQ(CleanPath("/a/./b//c/../d/"), "/a/b/d");
  EXPECT_EQ(CleanPath("/../../x"), "/x");
  EXPECT_EQ(CleanPath("/"), "/");
}

TEST(Plan, SchedulingIsToldInLinuxsNumbers) {
  oci::Spec spec = TestSpec();
  spec.process->scheduler = oci::Scheduler{.policy = "SCHED_IDLE", .nice = -3, .priority = 0, .flags = {"SCHED_FLAG_RESET_ON_FORK"}};
  spec.process->io_priority = oci::IoPriority{"IOPRIO_CLASS_IDLE", 7};
  spec.process->oom_score_adj = -5;
  spec.linux_config.personality = oci::Personality{"LINUX32", {}};
  const auto plan = MakePlan(spec, {}, {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const sentry::boot::Scheduling& scheduling = plan->boot.scheduling;
  EXPECT_EQ(scheduling.policy, 5);
  EXPECT_EQ(scheduling.nice, -3);
  EXPECT_TRUE(scheduling.reset_on_fork);
  EXPECT_EQ(scheduling.io_priority, 3 << 13 | 7);
  EXPECT_EQ(scheduling.oom_score_adj, -5);
  EXPECT_EQ(scheduling.personality, 8u);
  spec.process->scheduler->policy = "SCHED_RR";
  EXPECT_THAT(ErrorOf(spec), HasSubstr("$.process.scheduler.policy: 'SCHED_RR' is not given to sandboxes"));
}

TEST(Plan, MountsHaveAccessTimesAndPropagation) {
  using sentry::boot::MountPropagation;
  oci::Spec spec = TestSpec();
  spec.linux_config.rootfs_propagation = "rslave";
  spec.mounts.push_back({"/a", "tmpfs", "", {"noatime", "shared", "nosymfollow"}});
  spec.mounts.push_back({"/b", "tmpfs", "", {"strictatime", "runbindable", "nodiratime"}});
  spec.mounts.push_back({"/c", "tmpfs", "", {"noatime", "relatime"}});
  const auto plan = MakePlan(spec, {}, {});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const auto& mounts = plan->boot.mounts;
  EXPECT_EQ(mounts[0].propagation, MountPropagation::kSlave);
  EXPECT_TRUE(mounts[0].propagation_is_recursive);
  EXPECT_TRUE(mounts[1].noatime && mounts[1].nosymfollow && !mounts[1].propagation_is_recursive);
  EXPECT_EQ(mounts[1].propagation, MountPropagation::kShared);
  EXPECT_TRUE(mounts[2].strictatime && mounts[2].nodiratime && mounts[2].propagation_is_recursive);
  EXPECT_EQ(mounts[2].propagation, MountPropagation::kUnbindable);
  EXPECT_FALSE(mounts[3].noatime || mounts[3].strictatime);
  spec.linux_config.rootfs_propagation = "sideways";
  EXPECT_THAT(ErrorOf(spec), HasSubstr("$.linux.rootfsPropagation: 'sideways'"));
}

TEST(ParseSize, Suffixes) {
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("4K"), 4096u);
  EXPECT_EQ(*ParseSize("1.5m"), 3u << 19);
  for (const char* bad : {"", "k", "-1", "1kk", "1 k", "99999999t", "1.2.3", "inf", "nan"}) EXPECT_FALSE(ParseSize(bad).ok()) << bad;
}

TEST(Capabilities, ByName) {
  EXPECT_EQ(*ParseCapabilities({"CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"}), (uint64_t{1} << 40) | 1);
  EXPECT_FALSE(ParseCapabilities({"CAP_FLY"}).ok());
}

TEST(ChildConfig, WhatIsEncodedDecodesToTheSame) {
  SentryChild config;
  config.boot.argv = {"a", std::string("b\xff\n"), ""};
  config.boot.mounts.push_back(sentry::boot::Mount{});
  config.boot.mounts[0].size_limit = 7;
  config.boot.files = {{0, 0}, {5, 9}};
  config.boot.identity.groups = {1, 2};
  config.boot.rlimits.resize(16);
  config.boot.start_hooks.push_back({"/h", {"h"}, {"A=b"}, 3});
  config.boot.scheduling.nice = -4;
  config.processors = {3};
  const std::string bytes = Encode(config);
  const auto decoded = DecodeSentry(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(Encode(*decoded), bytes);
  EXPECT_EQ(decoded->boot.argv, config.boot.argv);
  EXPECT_EQ(decoded->boot.mounts[0].size_limit, 7u);
  EXPECT_EQ(decoded->boot.start_hooks[0].timeout_seconds, 3u);
  EXPECT_EQ(decoded->boot.scheduling.nice, -4);
}

TEST(ChildConfig, DamagedBytesAreRefusedOrHarmless) {
  SentryChild config;
  config.boot.argv = {"a", "b"};
  const std::string bytes = Encode(config);
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(DecodeSentry(bytes.substr(0, cut)).ok()) << cut;
  EXPECT_FALSE(DecodeSentry(bytes + "x").ok());
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = bytes;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    (void)DecodeSentry(damaged);
    (void)DecodeGofer(damaged);
  }
}

}  // namespace
}  // namespace rampart::runner
