// fcntl(F_NOTIFY): signals about a directory.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "net_support.h"

namespace {

using test::Owned;

class DirectoryNotify : public testing::Test {
 protected:
  void SetUp() override {
    signal_ = SIGRTMIN + 2;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    dir_ = "/tmp/dnotify_test." + std::to_string(getpid());
    (void)!system(("rm -rf " + dir_).c_str());
    ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
    fd_ = Owned(open(dir_.c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(fd_.ok());
    ASSERT_EQ(fcntl(fd_.get(), F_SETSIG, signal_), 0);
  }
  void TearDown() override {
    fd_.Close();
    (void)!system(("rm -rf " + dir_).c_str());
    while (Got(0)) {}
  }
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  void Create(const std::string& name) const { Owned(open(Path(name).c_str(), O_CREAT | O_WRONLY, 0600)); }
  // The descriptor that a signal within this many milliseconds names.
  int Waited(int ms, int signo) const {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    const timespec limit = {ms / 1000, ms % 1000 * 1000000};
    siginfo_t info = {};
    if (sigtimedwait(&set, &info, &limit) < 0) return -1;
    if (signo != SIGIO) {
      EXPECT_EQ(info.si_code, POLL_MSG);
    }
    return signo == SIGIO ? 0 : info.si_fd;
  }
  bool Got(int ms) const { return Waited(ms, signal_) >= 0; }
  int signal_;
  std::string dir_;
  Owned fd_;
};

TEST_F(DirectoryNotify, EachKindOfEvent) {
  Create("old");
  const struct {
    int events;
    std::function<void()> act;
  } kinds[] = {
      {DN_CREATE, [&] { Create("new"); }},
      {DN_MODIFY, [&] { EXPECT_EQ(truncate(Path("old").c_str(), 10), 0); }},
      {DN_ACCESS, [&] { char c; Owned f(open(Path("old").c_str(), O_RDONLY)); EXPECT_EQ(read(f.get(), &c, 1), 1); }},
      {DN_ATTRIB, [&] { EXPECT_EQ(chmod(Path("old").c_str(), 0400), 0); }},
      {DN_RENAME, [&] { EXPECT_EQ(rename(Path("old").c_str(), Path("other").c_str()), 0); }},
      {DN_DELETE, [&] { EXPECT_EQ(unlink(Path("other").c_str()), 0); }},
  };
  for (const auto& kind : kinds) {
    ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, kind.events), 0);
    EXPECT_FALSE(Got(0)) << kind.events;
    kind.act();
    EXPECT_EQ(Waited(5000, signal_), fd_.get()) << kind.events;
    EXPECT_FALSE(Got(0));
  }
}

TEST_F(DirectoryNotify, OnceUnlessManyTimesWereAskedFor) {
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE), 0);
  Create("a");
  EXPECT_TRUE(Got(5000));
  Create("b");
  EXPECT_FALSE(Got(50));
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE | DN_MULTISHOT), 0);
  for (const char* name : {"c", "d"}) {
    Create(name);
    EXPECT_TRUE(Got(5000));
  }
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, 0), 0);
  Create("e");
  EXPECT_FALSE(Got(50));
}

TEST_F(DirectoryNotify, EventsAddUp) {
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE | DN_MULTISHOT), 0);
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_DELETE | DN_MULTISHOT), 0);
  Create("a");
  EXPECT_TRUE(Got(5000));
  ASSERT_EQ(unlink(Path("a").c_str()), 0);
  EXPECT_TRUE(Got(5000));
}

TEST_F(DirectoryNotify, ClosingEndsIt) {
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE | DN_MULTISHOT), 0);
  const Owned copy(dup(fd_.get()));
  fd_.Close();
  Create("a");
  EXPECT_FALSE(Got(50));
}

TEST_F(DirectoryNotify, WithoutASignalChosenItIsSigio) {
  ASSERT_EQ(fcntl(fd_.get(), F_SETSIG, 0), 0);
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE), 0);
  EXPECT_EQ(fcntl(fd_.get(), F_GETOWN), getpid());
  Create("a");
  EXPECT_EQ(Waited(5000, SIGIO), 0);
}

volatile sig_atomic_t g_signals = 0;

TEST_F(DirectoryNotify, TheSignalHasComeWhenTheCallReturns) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) { g_signals = g_signals + 1; };
  ASSERT_EQ(sigaction(signal_, &action, &old), 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_CREATE | DN_DELETE | DN_RENAME | DN_MULTISHOT), 0);
  for (int i = 0; i < 200; ++i) {
    g_signals = 0;
    ASSERT_EQ(mkdir(Path("a").c_str(), 0700), 0);
    ASSERT_EQ(g_signals, 1) << i;
    ASSERT_EQ(rename(Path("a").c_str(), Path("b").c_str()), 0);
    ASSERT_GE(g_signals, 2) << i;
    g_signals = 0;
    ASSERT_EQ(rmdir(Path("b").c_str()), 0);
    ASSERT_EQ(g_signals, 1) << i;
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  sigaction(signal_, &old, nullptr);
}

TEST_F(DirectoryNotify, RenameIsWithinTheDirectory) {
  ASSERT_EQ(mkdir(Path("sub").c_str(), 0700), 0);
  Create("a");
  const Owned sub(open(Path("sub").c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(fcntl(sub.get(), F_SETSIG, signal_), 0);
  ASSERT_EQ(fcntl(sub.get(), F_NOTIFY, DN_RENAME | DN_MULTISHOT), 0);
  ASSERT_EQ(fcntl(fd_.get(), F_NOTIFY, DN_RENAME | DN_MULTISHOT), 0);
  ASSERT_EQ(rename(Path("a").c_str(), Path("sub/a").c_str()), 0);
  EXPECT_FALSE(Got(50));
  ASSERT_EQ(rename(Path("sub").c_str(), Path("other").c_str()), 0);
  EXPECT_EQ(Waited(5000, signal_), fd_.get());
  EXPECT_FALSE(Got(0));
}

// O_ASYNC's likewise.
TEST_F(DirectoryNotify, ThatOfAPipeHasComeToo) {
  struct sigaction action {}, old {};
  action.sa_handler = [](int) { g_signals = g_signals + 1; };
  ASSERT_EQ(sigaction(SIGIO, &action, &old), 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGIO);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Owned reader(ends[0]), writer(ends[1]);
  ASSERT_EQ(fcntl(reader.get(), F_SETOWN, getpid()), 0);
  ASSERT_EQ(fcntl(reader.get(), F_SETFL, O_ASYNC), 0);
  for (int i = 0; i < 200; ++i) {
    g_signals = 0;
    ASSERT_EQ(write(writer.get(), "x", 1), 1);
    ASSERT_EQ(g_signals, 1) << i;
    char c;
    ASSERT_EQ(read(reader.get(), &c, 1), 1);
  }
  sigprocmask(SIG_BLOCK, &set, nullptr);
  sigaction(SIGIO, &old, nullptr);
}

TEST_F(DirectoryNotify, OnlyDirectories) {
  Create("a");
  const Owned file(open(Path("a").c_str(), O_RDONLY));
  EXPECT_FAILS(fcntl(file.get(), F_NOTIFY, DN_CREATE), ENOTDIR);
  EXPECT_EQ(fcntl(file.get(), F_NOTIFY, 0), 0);
}

}  // namespace
