// What a program sees of the terminal it was started on: natively, and inside, where it must be the same.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "tests/terminal/terminal_session.h"

namespace rampart::terminal {
namespace {

enum class Variant { kNative, kInside };

class Terminal : public ::testing::TestWithParam<Variant> {
 protected:
  std::vector<std::string> Command(std::vector<std::string> argv) { return GetParam() == Variant::kNative ? argv : Inside(std::move(argv)); }
  std::vector<std::string> Script(const std::string& script) { return Command({"sh", "-c", script}); }
  std::vector<std::string> Shell() { return Command({"bash", "--norc", "--noediting", "-i"}); }
  std::vector<std::string> Python(const std::string& script) { return Command({"/usr/bin/python3", "-S", "-c", script}); }
  static bool HavePython() { return access("/usr/bin/python3", X_OK) == 0; }
};
INSTANTIATE_TEST_SUITE_P(Variants, Terminal, ::testing::Values(Variant::kNative, Variant::kInside),
                         [](const auto& variant) { return variant.param == Variant::kNative ? "Native" : "Inside"; });

TEST_P(Terminal, EchoesAndReadsLines) {
  TerminalSession t(Script("echo begun; read line; echo \"got <$line>\"; exit 7"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type("a word\n");
  EXPECT_TRUE(t.Expect("a word\r\n"));
  EXPECT_TRUE(t.Expect("got <a word>"));
  EXPECT_EQ(t.WaitForEnd(), 7);
}

TEST_P(Terminal, EofEndsARead) {
  TerminalSession t(Script("echo begun; cat; echo over"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type("line\n");
  EXPECT_TRUE(t.Expect("line\r\nline\r\n"));
  t.Type(kEof);
  EXPECT_TRUE(t.Expect("over"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, InterruptKillsTheProgram) {
  TerminalSession t(Script("echo begun; exec sleep 100"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type(kIntr);
  EXPECT_EQ(t.WaitForEnd(), 130);
}

TEST_P(Terminal, QuitKillsTheProgram) {
  TerminalSession t(Script("ulimit -c 0; echo begun; exec sleep 100"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type(kQuit);
  EXPECT_EQ(t.WaitForEnd(), 131);
}

TEST_P(Terminal, InterruptReachesAWholePipeline) {
  TerminalSession t(Script("trap 'echo caught; exit 9' INT; sh -c 'echo up >&2; exec sleep 100' | sh -c 'echo up >&2; exec sleep 100'; echo after"));
  ASSERT_TRUE(t.Expect("up"));
  ASSERT_TRUE(t.Expect("up"));
  t.Type(kIntr);
  EXPECT_TRUE(t.Expect("caught"));
  EXPECT_EQ(t.WaitForEnd(), 9);
}

TEST_P(Terminal, AShellHasJobControl) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("case $- in *m*) echo mon''itor;; esac\n");
  EXPECT_TRUE(t.Expect("monitor\r\n"));
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, HasAName) {
  TerminalSession t(Script("tty; tty <&1; ls -l \"$(tty)\" >/dev/null && echo there; echo written >\"$(tty)\"; [ /dev/fd/0 -ef \"$(tty)\" ] && echo same"));
  char name[64] = {};
  ASSERT_EQ(ptsname_r(t.master(), name, sizeof(name)), 0);
  EXPECT_TRUE(t.Expect(std::string(name) + "\r\n" + name + "\r\nthere\r\nwritten\r\nsame"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, InterruptKillsTheForegroundJobOnly) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("sleep 100 & echo back''ground\n");
  ASSERT_TRUE(t.Expect("background\r\n"));
  t.Type("sh -c 'echo be''gun; exec sleep 50'\n");
  ASSERT_TRUE(t.Expect("begun\r\n"));
  t.Type(kIntr);
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("echo status''=$?; jobs\n");
  EXPECT_TRUE(t.Expect("status=130\r\n"));
  EXPECT_TRUE(t.Expect("Running"));
  t.Type("kill %1; wait; echo rest''=$?; exit 5\n");
  EXPECT_TRUE(t.Expect("rest="));
  EXPECT_EQ(t.WaitForEnd(), 5);
}

TEST_P(Terminal, SuspendAndForeground) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("sh -c 'echo be''gun; exec cat'\n");
  ASSERT_TRUE(t.Expect("begun\r\n"));
  t.Type("one\n");
  EXPECT_TRUE(t.Expect("one\r\none\r\n"));
  t.Type(kSusp);
  EXPECT_TRUE(t.Expect("Stopped"));
  t.Type("echo status''=$?; fg\n");
  EXPECT_TRUE(t.Expect("status=148\r\n"));
  EXPECT_TRUE(t.Expect("exec cat"));
  t.Type("two\n");
  EXPECT_TRUE(t.Expect("two\r\ntwo\r\n"));
  t.Type(kEof);
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("echo status''=$?; exit\n");
  EXPECT_TRUE(t.Expect("status=0\r\n"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, ABackgroundReaderStops) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("cat &\n");
  ASSERT_TRUE(t.Expect("$ "));
  bool stopped = false;
  for (int i = 0; i < 50 && !stopped; ++i) {
    t.Type("jobs\n");
    stopped = t.Listen(200).find("Stopped") != std::string::npos;
  }
  EXPECT_TRUE(stopped);
  t.Type("fg\n");
  ASSERT_TRUE(t.Expect("fg\r\ncat\r\n"));
  t.Type("word\n");
  EXPECT_TRUE(t.Expect("word\r\nword\r\n"));
  t.Type(kEof);
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, BackgroundOutputStopsOnlyWithToStop) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("(sleep 0.1; echo free''ly; exit 3) & wait\n");
  EXPECT_TRUE(t.Expect("freely\r\n"));
  t.Type("stty tostop; (echo in''vain) & sleep 0.5; jobs; stty -tostop\n");
  EXPECT_TRUE(t.Expect("Stopped"));
  t.Type("fg\n");
  EXPECT_TRUE(t.Expect("invain\r\n"));
  t.Type("exit\n");
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, WindowSizeChanges) {
  TerminalSession t(Script("stty size; trap 'stty size; exit 0' WINCH; echo begun; while :; do sleep 0.1; done"));
  ASSERT_TRUE(t.Expect("24 80"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Resize(40, 132);
  EXPECT_TRUE(t.Expect("40 132"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, WindowSizeReachesTheForegroundJobOfAShell) {
  TerminalSession t(Shell());
  ASSERT_TRUE(t.Expect("$ "));
  t.Type("bash --norc -c 'trap \"stty size; exit 4\" WINCH; echo be''gun; while :; do sleep 0.1; done'\n");
  ASSERT_TRUE(t.Expect("begun\r\n"));
  t.Resize(30, 90);
  EXPECT_TRUE(t.Expect("30 90"));
  t.Type("echo status''=$?; exit\n");
  EXPECT_TRUE(t.Expect("status=4"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, RawModeGetsControlCharacters) {
  TerminalSession t(Script("stty raw -echo; echo begun; head -c 3 | od -An -tx1; stty sane; stty -a | grep -o ' icanon'; exit 6"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type("\x03\x1a\x04");
  EXPECT_TRUE(t.Expect("03 1a 04"));
  EXPECT_TRUE(t.Expect(" icanon"));
  EXPECT_EQ(t.WaitForEnd(), 6);
}

TEST_P(Terminal, DevTtyIsTheTerminal) {
  TerminalSession t(Script("exec </dev/null >/dev/null 2>&1; echo begun >/dev/tty; read line </dev/tty; echo \"got <$line>\" >/dev/tty; exit 3"));
  ASSERT_TRUE(t.Expect("begun"));
  t.Type("through\n");
  EXPECT_TRUE(t.Expect("got <through>"));
  EXPECT_EQ(t.WaitForEnd(), 3);
}

TEST_P(Terminal, ANewSessionHasNoTerminal) {
  TerminalSession t(Script("setsid -w sh -c 'exec 2>/dev/null; (: </dev/tty) && echo has || echo without'; (: </dev/tty) && echo still"));
  EXPECT_TRUE(t.Expect("without"));
  EXPECT_TRUE(t.Expect("still"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, PythonSeesForegroundGroupSizeAndInterrupt) {
  if (!HavePython()) GTEST_SKIP() << "no /usr/bin/python3";
  TerminalSession t(Python(R"(
import os, time
try:
    print('foreground', os.tcgetpgrp(0) == os.getpgrp(), os.get_terminal_size(0).columns, os.isatty(1), flush=True)
    while True: time.sleep(0.05)
except KeyboardInterrupt:
    print('interrupted', flush=True)
raise SystemExit(12)
)"));
  ASSERT_TRUE(t.Expect("foreground True 80 True"));
  t.Type(kIntr);
  EXPECT_TRUE(t.Expect("interrupted"));
  EXPECT_EQ(t.WaitForEnd(), 12);
}

TEST_P(Terminal, OutputOfManyLinesIsComplete) {
  TerminalSession t(Script("i=0; while [ $i -lt 3000 ]; do echo \"line number $i of the output\"; i=$((i+1)); done; echo done"));
  for (int i = 0; i < 3000; i += 100) ASSERT_TRUE(t.Expect("line number " + std::to_string(i) + " of the output\r\n"));
  EXPECT_TRUE(t.Expect("done"));
  EXPECT_EQ(t.WaitForEnd(), 0);
}

TEST_P(Terminal, HangUpEndsTheProgram) {
  auto t = std::make_unique<TerminalSession>(Script("trap 'exit 0' HUP; echo begun; while :; do sleep 0.1; done"));
  ASSERT_TRUE(t->Expect("begun"));
  const pid_t pid = t->pid();
  // The window is closed.
  ASSERT_EQ(dup2(STDIN_FILENO, t->master()), t->master());
  bool gone = false;
  for (int i = 0; i < 100 && !gone; ++i) {
    siginfo_t info{};
    gone = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
    usleep(50'000);
  }
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace rampart::terminal
