#include "runner/cli/sentry_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runner/cli/options.h"

namespace rampart::runner {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Caller TestCaller() {
  Caller caller;
  caller.uid = 1000;
  caller.gid = 100;
  caller.umask = 027;
  caller.cwd = "/usr";
  caller.hostname = "host";
  caller.environment = {"PATH=/bin", "HOME=/home/u", "ODD"};
  return caller;
}

SentryRunRequest Parse(const std::vector<std::string>& args) {
  auto request = ParseSentryRun(args, TestCaller());
  EXPECT_TRUE(request.ok()) << request.status().message();
  return request.ok() ? *request : SentryRunRequest{};
}

std::string ErrorOf(const std::vector<std::string>& args) {
  const auto request = ParseSentryRun(args, TestCaller());
  return request.ok() ? "no error" : std::string(request.status().message());
}

const oci::Mount* FindMount(const oci::Spec& spec, const std::string& destination) {
  for (const oci::Mount& mount : spec.mounts) {
    if (mount.destination == destination) return &mount;
  }
  return nullptr;
}

TEST(SentryRun, ByDefaultTheCallersWorld) {
  const SentryRunRequest request = Parse({"ls", "-l"});
  EXPECT_EQ(request.spec.root->path, "/");
  EXPECT_TRUE(request.options.overlay_root);
  EXPECT_EQ(request.spec.process->cwd, "/usr");
  EXPECT_EQ(request.spec.process->user.uid, 1000u);
  EXPECT_EQ(request.spec.process->user.umask, 027u);
  EXPECT_THAT(request.spec.process->env, ElementsAre("PATH=/bin", "HOME=/home/u"));
  EXPECT_EQ(request.spec.hostname, "host");
}

TEST(SentryRun, TheCommandsOwnOptionsAreLeftAlone) {
  EXPECT_THAT(Parse({"python3", "-c", "x", "--help", "--rw"}).spec.process->args, ElementsAre("python3", "-c", "x", "--help", "--rw"));
  EXPECT_THAT(Parse({"--stats", "--", "-odd", "--", "x"}).spec.process->args, ElementsAre("-odd", "--", "x"));
  EXPECT_THAT(Parse({"--memory", "64m", "sh", "-c", ""}).spec.process->args, ElementsAre("sh", "-c", ""));
  EXPECT_THAT(Parse({"--memory=64m", "sh"}).spec.process->args, ElementsAre("sh"));
  EXPECT_THAT(Parse({"-e", "A=--", "sh"}).spec.process->args, ElementsAre("sh"));
}

TEST(SentryRun, StraceTakesItsSetOnlyWithAnEqualsSign) {
  SentryRunRequest request = Parse({"--strace", "true"});
  EXPECT_TRUE(request.options.strace);
  EXPECT_EQ(request.options.strace_set, "");
  EXPECT_THAT(request.spec.process->args, ElementsAre("true"));
  request = Parse({"--strace=openat,read", "--stats", "true"});
  EXPECT_EQ(request.options.strace_set, "openat,read");
  EXPECT_TRUE(request.options.stats);
}

TEST(SentryRun, Binds) {
  const SentryRunRequest request = Parse({"--bind", "/etc", "--bind", "lib:/x/../y:ro", "true"});
  const oci::Mount* plain = FindMount(request.spec, "/etc");
  ASSERT_NE(plain, nullptr);
  EXPECT_EQ(plain->source, "/etc");
  EXPECT_THAT(plain->options, Contains("rw"));
  const oci::Mount* moved = FindMount(request.spec, "/y");
  ASSERT_NE(moved, nullptr);
  EXPECT_EQ(moved->source, "/usr/lib");
  EXPECT_THAT(moved->options, Contains("ro"));
  EXPECT_THAT(ErrorOf({"--bind", ":/x", "true"}), HasSubstr("write SRC"));
}

TEST(SentryRun, RwBindsTheCurrentDirectoryButNeverTheRoot) {
  const SentryRunRequest request = Parse({"--rw", "true"});
  ASSERT_NE(FindMount(request.spec, "/usr"), nullptr);
  Caller caller = TestCaller();
  caller.cwd = "/";
  EXPECT_THAT(std::string(ParseSentryRun({"--rw", "true"}, caller).status().message()), HasSubstr("whole host"));
}

TEST(SentryRun, Environment) {
  EXPECT_THAT(Parse({"-e", "HOME=/x", "-e", "PATH", "-e", "UNSET", "true"}).spec.process->env, ElementsAre("HOME=/x", "PATH=/bin"));
  EXPECT_THAT(Parse({"--clear-env", "--env", "A=1", "true"}).spec.process->env, ElementsAre("A=1"));
  EXPECT_THAT(ErrorOf({"--env", "=x", "true"}), HasSubstr("no variable"));
}

TEST(SentryRun, LimitsAndTimes) {
  const SentryRunRequest request = Parse({"--memory", "1.5g", "--cpus", "0.5", "--pids", "10", "--timeout", "1.5m", "true"});
  EXPECT_EQ(request.spec.linux_config.resources->memory->limit, 1536 << 20);
  EXPECT_EQ(request.spec.linux_config.resources->cpu->quota, 50'000);
  EXPECT_EQ(request.spec.linux_config.resources->pids->limit, 10);
  EXPECT_EQ(request.options.timeout, 90 * kNanosPerSecond);
  for (const char* bad : {"", "x", "-1", "1e3", "0x10", "1mb"}) EXPECT_NE(ErrorOf({"--memory", bad, "true"}), "no error") << bad;
}

TEST(SentryRun, HelpAndVersionNeedNoCommand) {
  EXPECT_THAT(Parse({"--help"}).print, HasSubstr("COMMAND [ARGUMENTS"));
  EXPECT_THAT(Parse({"--version"}).print, HasSubstr("sentry-run"));
  EXPECT_THAT(Parse({"--help"}).print, Not(HasSubstr("self-test")));
}

TEST(SentryRun, OptionsWithoutTheirValue) {
  EXPECT_NE(ErrorOf({"--memory"}), "no error");
  EXPECT_THAT(ErrorOf({"--frobnicate", "true"}), HasSubstr("'--frobnicate'"));
}

}  // namespace
}  // namespace rampart::runner
