// What is in force in the two confined processes, seen from outside.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "tests/security/sandbox_process.h"

namespace rampart::security {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Proc(pid_t pid, const std::string& name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string ReadLink(const std::string& path) {
  char target[4096];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof(target));
  return n < 0 ? "" : std::string(target, static_cast<size_t>(n));
}

std::set<std::string> List(const std::string& path) {
  std::set<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.insert(name);
  }
  ::closedir(directory);
  return names;
}

class Confinement : public testing::Test {
 protected:
  void SetUp() override {
    if (!sandbox_.ready()) GTEST_SKIP() << "no sandbox to be had here: " << sandbox_.output();
  }
  SandboxProcess sandbox_;
};

TEST_F(Confinement, EachProcessHasItsOwnNamespaces) {
  for (const char* name : {"user", "pid", "mnt", "net", "ipc", "uts"}) {
    const std::string host = ReadLink(Proc(::getpid(), std::string("ns/") + name));
    const std::string sentry = ReadLink(Proc(sandbox_.sentry(), std::string("ns/") + name));
    const std::string gofer = ReadLink(Proc(sandbox_.gofer(), std::string("ns/") + name));
    EXPECT_NE(sentry, host) << name;
    EXPECT_NE(gofer, host) << name;
    EXPECT_NE(gofer, sentry) << name;
  }
}

TEST_F(Confinement, TheSentryHasNoCapabilities) {
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(StatusLine(sandbox_.sentry(), set), "0000000000000000") << set;
  }
}

TEST_F(Confinement, TheGoferOfReadOnlyTreesMayAtMostReadFilesOfEveryUser) {
  const std::string expected = ::getuid() == 0 ? "0000000000000004" : "0000000000000000";  // CAP_DAC_READ_SEARCH
  EXPECT_EQ(StatusLine(sandbox_.gofer(), "CapEff"), expected);
  EXPECT_EQ(StatusLine(sandbox_.gofer(), "CapPrm"), expected);
  EXPECT_EQ(StatusLine(sandbox_.gofer(), "CapBnd"), expected);
  EXPECT_EQ(StatusLine(sandbox_.gofer(), "CapAmb"), "0000000000000000");
}

TEST_F(Confinement, NoNewPrivilegesAndAFilter) {
  for (const pid_t pid : {sandbox_.sentry(), sandbox_.gofer()}) {
    EXPECT_EQ(StatusLine(pid, "NoNewPrivs"), "1");
    EXPECT_EQ(StatusLine(pid, "Seccomp"), "2");
  }
}

TEST_F(Confinement, AsRootTheSentryIsNobody) {
  if (::getuid() != 0) GTEST_SKIP() << "not root";
  EXPECT_EQ(StatusLine(sandbox_.sentry(), "Uid"), "65534\t65534\t65534\t65534");
  EXPECT_EQ(StatusLine(sandbox_.sentry(), "Groups"), " ");
}

TEST_F(Confinement, TheSentrysRootIsEmptyAndReadOnly) {
  if (::getuid() != 0) GTEST_SKIP() << "only root can look";
  EXPECT_TRUE(List(Proc(sandbox_.sentry(), "root")).empty());
  const std::string mounts = ReadFile(Proc(sandbox_.sentry(), "mountinfo"));
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  EXPECT_THAT(mounts, HasSubstr(" / / ro,"));
}

TEST_F(Confinement, TheGofersRootHoldsOnlyTheExportsAndNoKernelFiles) {
  if (::getuid() != 0) GTEST_SKIP() << "only root can look";
  const std::string root = Proc(sandbox_.gofer(), "root");
  EXPECT_EQ(List(root), (std::set<std::string>{"0", "empty"}));
  EXPECT_FALSE(List(root + "/0/etc").empty());
  for (const char* covered : {"/0/proc", "/0/sys", "/0/dev"}) EXPECT_TRUE(List(root + covered).empty()) << covered;
  EXPECT_LT(::open((root + "/0/rampart-test").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 0);
  EXPECT_EQ(errno, EROFS);
}

TEST_F(Confinement, OnlyDonatedDescriptorsAreOpen) {
  const auto sentry = List(Proc(sandbox_.sentry(), "fd"));
  for (const std::string& fd : sentry) EXPECT_LE(std::stoi(fd), 6) << ReadLink(Proc(sandbox_.sentry(), "fd/" + fd));
  for (const std::string& fd : sentry) {
    const std::string target = ReadLink(Proc(sandbox_.sentry(), "fd/" + fd));
    EXPECT_THAT(target, Not(HasSubstr("passwd")));
    struct stat info {};
    ASSERT_EQ(::stat(Proc(sandbox_.sentry(), "fd/" + fd).c_str(), &info), 0);
    EXPECT_FALSE(S_ISDIR(info.st_mode)) << fd << " " << target;
  }
  for (const std::string& fd : List(Proc(sandbox_.gofer(), "fd"))) {
    const std::string target = ReadLink(Proc(sandbox_.gofer(), "fd/" + fd));
    EXPECT_LT(std::stoi(fd), 33) << target;
    EXPECT_THAT(target, Not(HasSubstr("passwd")));
  }
}

TEST_F(Confinement, NeitherHasAControllingTerminalOrTheCallersEnvironment) {
  for (const pid_t pid : {sandbox_.sentry(), sandbox_.gofer()}) {
    EXPECT_EQ(::getsid(pid), pid);
    EXPECT_THAT(ReadFile(Proc(pid, "environ")), Not(HasSubstr("PATH=")));
  }
}

TEST_F(Confinement, NoCoreDumpsAndNoLockedMemory) {
  for (const pid_t pid : {sandbox_.sentry(), sandbox_.gofer()}) {
    std::istringstream limits(ReadFile(Proc(pid, "limits")));
    bool core = false;
    for (std::string line; std::getline(limits, line);) {
      if (line.rfind("Max core file size", 0) == 0) core = line.find(" 0 ") != std::string::npos;
    }
    EXPECT_TRUE(core);
  }
}

TEST(GoferExports, OnlyTheGivenRootIsThere) {
  if (::getuid() != 0) GTEST_SKIP() << "only root can look";
  char directory[] = "/tmp/rampart-export-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  ASSERT_EQ(::mkdir((std::string(directory) + "/inside").c_str(), 0755), 0);
  {
    SandboxProcess sandbox({"--root", directory, "--workdir", "/"});
    ASSERT_TRUE(sandbox.ready()) << sandbox.output();
    EXPECT_EQ(List(Proc(sandbox.gofer(), "root/0")), std::set<std::string>{"inside"});
    EXPECT_TRUE(List(Proc(sandbox.gofer(), "root/0/inside/../../../../../etc")).empty());
  }
  ::rmdir((std::string(directory) + "/inside").c_str());
  ::rmdir(directory);
}

TEST(Violation, EndsTheSandboxAndIsReported) {
  const Finished finished = RunSentryRun({"--self-test", "violate", "true"});
  if (finished.output.find("does not let you") != std::string::npos) GTEST_SKIP() << finished.output;
  EXPECT_EQ(finished.status, 125);
  EXPECT_THAT(finished.output, HasSubstr("the sentry was stopped by its own seccomp filter (system call"));
}

TEST(BadInput, OneLineAndStatus125) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--no-such-option", "true"}, "unknown option '--no-such-option'"},
      {{}, "no command is given"},
      {{"--bind", "/no/such/place", "true"}, "'/no/such/place' does not exist"},
      {{"--bind", "/etc:relative", "true"}, "must be an absolute path"},
      {{"--bind", "a:b:c:d", "true"}, "write SRC"},
      {{"--root", "/no/such/root", "true"}, "'/no/such/root' does not exist"},
      {{"--root", "/etc/passwd", "true"}, "is not a directory"},
      {{"--memory", "lots", "true"}, "'lots' is not a size"},
      {{"--cpus", "many", "true"}, "--cpus 'many'"},
      {{"--pids", "0", "true"}, "--pids '0'"},
      {{"--timeout", "soon", "true"}, "--timeout 'soon'"},
      {{"--user", "nobody-at-all", "true"}, "no such user"},
      {{"--tmpfs", "x", "true"}, "must be an absolute path"},
      {{"--tmpfs", "/t:size=big", "true"}, "'big' is not a size"},
      {{"--debug-log", "/no/such/dir/log", "true"}, "'/no/such/dir/log'"},
      {{"--pass-fd", "77", "true"}, "descriptor 77"},
  };
  for (const auto& [args, expected] : cases) {
    const Finished finished = RunSentryRun(args);
    EXPECT_EQ(finished.status, 125) << expected;
    EXPECT_THAT(finished.output, HasSubstr(expected));
    EXPECT_EQ(std::count(finished.output.begin(), finished.output.end(), '\n'), 1) << finished.output;
  }
}

TEST(BadInput, ProgramsThatCannotRunAreAsInAShell) {
  const std::vector<std::pair<std::string, int>> cases = {{"/no/such/program", 127}, {"no-such-program-in-path", 127}, {"/etc/passwd", 126}, {"/etc", 126}};
  for (const auto& [program, status] : cases) {
    const Finished finished = RunSentryRun({program});
    if (finished.output.find("does not let you") != std::string::npos) GTEST_SKIP() << finished.output;
    EXPECT_EQ(finished.status, status) << program;
    EXPECT_THAT(finished.output, HasSubstr(program));
    EXPECT_EQ(std::count(finished.output.begin(), finished.output.end(), '\n'), 1) << finished.output;
  }
}

}  // namespace
}  // namespace rampart::security
