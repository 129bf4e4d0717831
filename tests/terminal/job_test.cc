// sentry-run as a job of an outer shell: what the shell and its other jobs see of it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/terminal/terminal_session.h"

namespace rampart::terminal {
namespace {

std::vector<std::string> OuterShell() { return {"bash", "--norc", "--noediting", "-i"}; }
const std::string kRun = std::string(SENTRY_RUN) + " -- ";

TEST(Job, SuspendedAndContinuedByTheOuterShell) {
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type(kRun + "sh -c 'echo be''gun; exec cat'\n");
  ASSERT_TRUE(t.Expect("begun\r\n"));
  t.Type(kSusp);
  EXPECT_TRUE(t.Expect("Stopped"));
  t.Type("echo outer''shell\n");
  EXPECT_TRUE(t.Expect("outershell\r\n"));
  t.Type("fg\n");
  t.Listen(200);
  t.Type("word\n");
  EXPECT_TRUE(t.Expect("word\r\nword\r\n"));
  t.Type(kIntr);
  t.Type("echo status''=$?; exit\n");
  EXPECT_TRUE(t.Expect("status=130\r\n"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST(Job, AWholePipelineInsideStopsAndGoesOn) {
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type(kRun + "sh -c 'echo be''gun; cat | cat; echo piped'\n");
  ASSERT_TRUE(t.Expect("begun\r\n"));
  t.Listen(200);
  t.Type(kSusp);
  EXPECT_TRUE(t.Expect("Stopped"));
  t.Type("fg\n");
  t.Listen(200);
  t.Type("word\n");
  EXPECT_TRUE(t.Expect("word\r\nword\r\n"));
  t.Type(kEof);
  EXPECT_TRUE(t.Expect("piped"));
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST(Job, InTheBackgroundItTakesNoInput) {
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type(kRun + "cat &\n");
  ASSERT_TRUE(t.Expect("$ "));
  bool stopped = false;
  for (int i = 0; i < 50 && !stopped; ++i) {
    t.Type("jobs\n");
    stopped = t.Listen(200).find("Stopped") != std::string::npos;
  }
  EXPECT_TRUE(stopped);
  t.Type("echo mi''ne\n");
  EXPECT_TRUE(t.Expect("mine\r\n"));
  t.Type("fg\n");
  t.Listen(200);
  t.Type("word\n");
  EXPECT_TRUE(t.Expect("word\r\nword\r\n"));
  t.Type(kEof);
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST(Job, ABackgroundJobThatOnlyWritesRuns) {
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type(kRun + "sh -c 'echo writ''ten; exit 3' & wait $!; echo status''=$?\n");
  EXPECT_TRUE(t.Expect("written\r\n"));
  EXPECT_TRUE(t.Expect("status=3\r\n"));
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST(Job, SettingsOfTheTerminalComeBackAfterAKill) {
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type(kRun + "sh -c 'stty raw -echo; echo be''gun; kill -9 $$'; stty -a | tr ' ' '\\n' | grep -x -e '-*echo'\n");
  ASSERT_TRUE(t.Expect("begun"));
  EXPECT_TRUE(t.Expect("\necho\r\n"));
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST(Job, AnOrphanedJobGetsAnErrorRatherThanAStop) {
  // Who started it has gone, and nobody else could continue it: a read fails, as it does natively.
  const std::string file = ::testing::TempDir() + "/rampart-orphan-" + std::to_string(getpid());
  if (access("/usr/bin/python3", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/python3";
  TerminalSession t(OuterShell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("/usr/bin/python3 -c 'import os,sys,time; os.setpgid(0,0); p=os.getpid(); os.fork() and os._exit(0); [time.sleep(.01) for i in range(999) if os.getppid()==p]; os.system(sys.argv[1])' '" + kRun +
         "cat 2>" + file + "; echo status=$? >>" + file + "'\n");
  std::string text;
  for (int i = 0; i < 100 && text.find("status=") == std::string::npos; ++i) {
    t.Listen(100);
    std::ifstream in(file);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  unlink(file.c_str());
  EXPECT_NE(text.find("Input/output error"), std::string::npos) << text;
  EXPECT_NE(text.find("status=1"), std::string::npos) << text;
}

}  // namespace
}  // namespace rampart::terminal
