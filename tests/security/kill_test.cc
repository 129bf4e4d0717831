// kill -9 of any of the three processes takes the others along and leaves nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "tests/security/sandbox_process.h"

namespace rampart::security {
namespace {

using testing::HasSubstr;

TEST(Kill, OfTheRunnerTakesTheChildrenAlong) {
  SandboxProcess sandbox;
  if (!sandbox.ready()) GTEST_SKIP() << sandbox.output();
  ::kill(sandbox.runner(), SIGKILL);
  EXPECT_TRUE(Vanishes(sandbox.sentry()));
  EXPECT_TRUE(Vanishes(sandbox.gofer()));
}

TEST(Kill, OfTheSentryEndsTheSandbox) {
  SandboxProcess sandbox;
  if (!sandbox.ready()) GTEST_SKIP() << sandbox.output();
  ::kill(sandbox.sentry(), SIGKILL);
  const int status = sandbox.WaitForEnd();
  EXPECT_EQ(WEXITSTATUS(status), 125);
  EXPECT_TRUE(Vanishes(sandbox.gofer()));
  EXPECT_THAT(sandbox.output(), HasSubstr("the sentry was killed by signal 9"));
}

TEST(Kill, OfTheGoferEndsTheSandbox) {
  SandboxProcess sandbox;
  if (!sandbox.ready()) GTEST_SKIP() << sandbox.output();
  ::kill(sandbox.gofer(), SIGKILL);
  const int status = sandbox.WaitForEnd();
  EXPECT_EQ(WEXITSTATUS(status), 125);
  EXPECT_TRUE(Vanishes(sandbox.sentry()));
  EXPECT_THAT(sandbox.output(), HasSubstr("the gofer was killed by signal 9"));
}

TEST(Kill, ASignalToTheRunnerReachesTheProgram) {
  SandboxProcess sandbox;
  if (!sandbox.ready()) GTEST_SKIP() << sandbox.output();
  ::kill(sandbox.runner(), SIGTERM);
  const int status = sandbox.WaitForEnd();
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGTERM);
}

// At any moment of the start-up, too.
TEST(Kill, AtRandomMomentsLeavesNoProcess) {
  for (int i = 0; i < 20; ++i) {
    const pid_t runner = ::fork();
    if (runner == 0) {
      ::setsid();
      ::execl(SENTRY_RUN, SENTRY_RUN, "--self-test", "hold", "true", nullptr);
      ::_exit(99);
    }
    ::usleep(static_cast<useconds_t>(i * 1000));
    std::vector<pid_t> children;
    std::ifstream file("/proc/" + std::to_string(runner) + "/task/" + std::to_string(runner) + "/children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
    ::kill(runner, SIGKILL);
    ::waitpid(runner, nullptr, 0);
    for (const pid_t child : children) EXPECT_TRUE(Vanishes(child)) << "after " << i << " ms";
  }
}

TEST(Kill, OfTheRunnerLeavesNoCgroup) {
  if (::getuid() != 0) GTEST_SKIP() << "not root";
  SandboxProcess sandbox({"--memory", "64m", "--pids", "50", "--cpus", "0.5"});
  ASSERT_TRUE(sandbox.ready()) << sandbox.output();
  std::ifstream file("/proc/" + std::to_string(sandbox.sentry()) + "/cgroup");
  std::stringstream text;
  text << file.rdbuf();
  const size_t at = text.str().find("rampart-" + std::to_string(sandbox.runner()) + "-");
  if (at == std::string::npos) GTEST_SKIP() << "no cgroups to be had here";
  const std::string name = text.str().substr(at, text.str().find_first_of("/\n", at) - at);
  ::kill(sandbox.runner(), SIGKILL);
  EXPECT_TRUE(Vanishes(sandbox.sentry()));
  bool gone = false;
  for (int i = 0; i < 300 && !gone; ++i) {
    gone = true;
    for (const char* controller : {"memory", "pids", "cpu", "unified", "."}) {
      gone = gone && ::access((std::string("/sys/fs/cgroup/") + controller + "/" + name).c_str(), F_OK) != 0;
    }
    if (!gone) ::usleep(10'000);
  }
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace rampart::security
