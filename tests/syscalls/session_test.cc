// Sessions, process groups, controlling terminals and job control over a pty.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>

namespace {

pid_t Fork(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  return pid;
}
int ExitOf(pid_t pid) {
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
int RunChild(const std::function<int()>& body) { return ExitOf(Fork(body)); }
pid_t Sleeper() {
  return Fork([] {
    while (true) pause();
    return 0;
  });
}
void Reap(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}
struct Pty {
  int master = -1, slave = -1;
  Pty() { EXPECT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0); }
  ~Pty() { Close(); }
  void Close() {
    if (master >= 0) close(master);
    if (slave >= 0) close(slave);
    master = slave = -1;
  }
};
// `body` as the leader of a session whose controlling terminal is the slave.
int InSession(Pty& pty, const std::function<int()>& body) {
  return RunChild([&] {
    if (setsid() < 0) return 90;
    if (ioctl(pty.slave, TIOCSCTTY, 0) != 0) return 91;
    return body();
  });
}

TEST(Setsid, MakesASessionAndAGroup) {
  EXPECT_EQ(RunChild([] {
              const pid_t sid = setsid();
              if (sid != getpid() || getsid(0) != sid || getpgrp() != sid) return 1;
              return setsid() == -1 && errno == EPERM ? 0 : 2;  // a group leader cannot
            }),
            0);
}

TEST(Setpgid, Rules) {
  const pid_t a = Sleeper(), b = Sleeper();
  EXPECT_EQ(setpgid(a, a), 0);
  EXPECT_EQ(getpgid(a), a);
  EXPECT_EQ(setpgid(b, a), 0);
  EXPECT_EQ(getpgid(b), a);
  EXPECT_EQ(setpgid(b, 0), 0);
  EXPECT_EQ(getpgid(b), b);
  EXPECT_EQ(setpgid(a, -1), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(setpgid(a, 999'999), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(setpgid(999'999, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(getpgid(999'999), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_EQ(getsid(999'999), -1);
  EXPECT_EQ(errno, ESRCH);
  Reap(a);
  Reap(b);
}

TEST(Setpgid, NotAfterTheChildsExec) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const pid_t pid = Fork([] {
    execl("/bin/sleep", "sleep", "100", nullptr);
    return 1;
  });
  close(fds[1]);
  char c;
  EXPECT_EQ(read(fds[0], &c, 1), 0);
  EXPECT_EQ(setpgid(pid, pid), -1);
  EXPECT_EQ(errno, EACCES);
  Reap(pid);
  close(fds[0]);
}

TEST(Setpgid, NotAcrossSessionsNorForALeader) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t pid = Fork([&] {
    setsid();
    [[maybe_unused]] const ssize_t n = write(ready[1], "r", 1);
    while (true) pause();
    return 0;
  });
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  EXPECT_EQ(setpgid(pid, getpgrp()), -1);
  EXPECT_EQ(errno, EPERM);
  Reap(pid);
  EXPECT_EQ(RunChild([] {
              setsid();
              return setpgid(0, 0) == -1 && errno == EPERM ? 0 : 1;
            }),
            0);
  close(ready[0]);
  close(ready[1]);
}

TEST(Kill, AProcessGroup) {
  const pid_t a = Sleeper(), b = Sleeper();
  setpgid(a, a);
  setpgid(b, a);
  EXPECT_EQ(kill(-a, 0), 0);
  EXPECT_EQ(kill(-a, SIGTERM), 0);
  EXPECT_EQ(ExitOf(a), 1000 + SIGTERM);
  EXPECT_EQ(ExitOf(b), 1000 + SIGTERM);
  EXPECT_EQ(kill(-a, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Terminal, AcquiredByTheLeaderAndOpenedAsDevTty) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              if (tcgetpgrp(pty.slave) != getpgrp() || tcgetsid(pty.slave) != getsid(0)) return 1;
              const int tty = open("/dev/tty", O_RDWR);
              if (tty < 0) return 2;
              if (write(tty, "x", 1) != 1) return 3;
              char c = 0;
              if (read(pty.master, &c, 1) != 1 || c != 'x') return 4;
              if (ioctl(tty, TIOCNOTTY) != 0) return 5;
              return open("/dev/tty", O_RDWR) == -1 && errno == ENXIO ? 0 : 6;
            }),
            1000 + SIGHUP);  // TIOCNOTTY of the leader hangs up on the foreground group: itself
}

TEST(Terminal, OpeningWithoutNocttyAcquires) {
  Pty pty;
  const std::string name = ttyname(pty.slave);
  EXPECT_EQ(RunChild([&] {
              setsid();
              const int plain = open(name.c_str(), O_RDWR | O_NOCTTY);
              if (tcgetpgrp(plain) != -1 || errno != ENOTTY) return 1;
              const int fd = open(name.c_str(), O_RDWR);
              return tcgetpgrp(fd) == getpgrp() ? 0 : 2;
            }),
            0);
}

TEST(Terminal, OnlyALeaderMayAcquireAndOnlyOnce) {
  Pty one, two;
  EXPECT_EQ(InSession(one, [&] {
              if (ioctl(one.slave, TIOCSCTTY, 0) != 0) return 1;  // again is fine
              if (ioctl(two.slave, TIOCSCTTY, 0) != -1 || errno != EPERM) return 2;
              return RunChild([&] { return ioctl(two.slave, TIOCSCTTY, 0) == -1 && errno == EPERM ? 0 : 3; });
            }),
            0);
}

TEST(Terminal, TheMasterTellsOfTheSessionOnTheOtherSide) {
  Pty pty;
  pid_t group = 1;
  ASSERT_EQ(ioctl(pty.master, TIOCGPGRP, &group), 0);
  EXPECT_EQ(group, 0);
  EXPECT_EQ(ioctl(pty.master, TIOCGSID, &group), -1);
  EXPECT_EQ(errno, ENOTTY);
  EXPECT_EQ(tcgetpgrp(pty.slave), -1);
  const pid_t leader = Fork([&] {
    setsid();
    ioctl(pty.slave, TIOCSCTTY, 0);
    if (write(pty.slave, "!", 1) != 1) return 1;
    while (true) pause();
    return 0;
  });
  char c = 0;
  ASSERT_EQ(read(pty.master, &c, 1), 1);
  ASSERT_EQ(ioctl(pty.master, TIOCGPGRP, &group), 0);
  EXPECT_EQ(group, leader);
  ASSERT_EQ(ioctl(pty.master, TIOCGSID, &group), 0);
  EXPECT_EQ(group, leader);
  EXPECT_EQ(ioctl(pty.master, TIOCSPGRP, &group), -1);  // it is not this process's terminal
  EXPECT_EQ(errno, ENOTTY);
  Reap(leader);
}

// struct termio of System V; glibc has no name for the calls.
struct OldSettings {
  uint16_t iflag, oflag, cflag, lflag;
  uint8_t line, cc[8];
};
constexpr unsigned long kGetOld = 0x5405, kSetOld = 0x5406, kSetOldAndFlush = 0x5408;

TEST(Terminal, OldSettingsAreTheLowHalves) {
  Pty pty;
  termios before{}, after{};
  ASSERT_EQ(tcgetattr(pty.slave, &before), 0);
  OldSettings old{};
  ASSERT_EQ(ioctl(pty.slave, kGetOld, &old), 0);
  EXPECT_EQ(old.lflag, static_cast<uint16_t>(before.c_lflag));
  EXPECT_EQ(old.cc[VINTR], before.c_cc[VINTR]);
  old.lflag = static_cast<uint16_t>(old.lflag & ~static_cast<uint16_t>(ECHO));
  old.cc[VINTR] = 7;
  ASSERT_EQ(ioctl(pty.slave, kSetOld, &old), 0);
  ASSERT_EQ(tcgetattr(pty.slave, &after), 0);
  EXPECT_EQ(after.c_lflag, before.c_lflag & ~static_cast<tcflag_t>(ECHO));
  EXPECT_EQ(after.c_cc[VINTR], 7);
  EXPECT_EQ(after.c_cc[VSUSP], before.c_cc[VSUSP]);
  ASSERT_EQ(write(pty.master, "gone\n", 5), 5);
  ASSERT_EQ(ioctl(pty.slave, kSetOldAndFlush, &old), 0);
  int waiting = -1;
  ASSERT_EQ(ioctl(pty.slave, FIONREAD, &waiting), 0);
  EXPECT_EQ(waiting, 0);
}

TEST(Terminal, LockedSettingsStay) {
  Pty pty;
  termios locked{}, settings{};
  ASSERT_EQ(ioctl(pty.slave, TIOCGLCKTRMIOS, &locked), 0);
  EXPECT_EQ(locked.c_lflag, 0u);
  locked.c_lflag = ECHO;
  locked.c_cc[VINTR] = 1;
  if (ioctl(pty.slave, TIOCSLCKTRMIOS, &locked) != 0) {
    ASSERT_EQ(errno, EPERM);
    GTEST_SKIP() << "no CAP_SYS_ADMIN here";
  }
  ASSERT_EQ(tcgetattr(pty.slave, &settings), 0);
  const termios before = settings;
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  settings.c_cc[VINTR] = 9;
  ASSERT_EQ(tcsetattr(pty.slave, TCSANOW, &settings), 0);
  ASSERT_EQ(tcgetattr(pty.slave, &settings), 0);
  EXPECT_EQ(settings.c_lflag, before.c_lflag & ~static_cast<tcflag_t>(ICANON));
  EXPECT_EQ(settings.c_cc[VINTR], before.c_cc[VINTR]);
}

TEST(Tcsetpgrp, MovesTheForeground) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              const pid_t child = Sleeper();
              setpgid(child, child);
              if (tcsetpgrp(pty.slave, child) != 0) return 1;
              if (tcgetpgrp(pty.slave) != child) return 2;
              signal(SIGTTOU, SIG_IGN);
              if (tcsetpgrp(pty.slave, getpgrp()) != 0) return 3;
              if (tcsetpgrp(pty.slave, 999'999) != -1 || errno != ESRCH) return 4;
              if (tcsetpgrp(pty.slave, -5) != -1 || errno != EINVAL) return 5;
              const pid_t other = Fork([] {
                setsid();
                while (true) pause();
                return 0;
              });
              while (getsid(other) != other) usleep(1000);
              if (tcsetpgrp(pty.slave, other) != -1 || errno != EPERM) return 6;
              Reap(other);
              Reap(child);
              return 0;
            }),
            0);
}

TEST(JobControl, TypedSignalsGoToTheForegroundOnly) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              signal(SIGTTOU, SIG_IGN);
              const pid_t front = Sleeper(), back = Sleeper();
              setpgid(front, front);
              setpgid(back, back);
              tcsetpgrp(pty.slave, front);
              if (write(pty.master, "\x03", 1) != 1) return 1;
              if (ExitOf(front) != 1000 + SIGINT) return 2;
              if (waitpid(back, nullptr, WNOHANG) != 0) return 3;
              tcsetpgrp(pty.slave, back);
              if (write(pty.master, "\x1a", 1) != 1) return 4;
              int status = 0;
              if (waitpid(back, &status, WUNTRACED) != back || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTSTP) return 5;
              kill(-back, SIGCONT);
              if (write(pty.master, "\x1c", 1) != 1) return 6;
              if (waitpid(back, &status, 0) != back || WTERMSIG(status) != SIGQUIT) return 7;
              return 0;
            }),
            0);
}

TEST(JobControl, BackgroundReadStops) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              const pid_t child = Fork([&] {
                setpgid(0, 0);
                char line[16] = {};
                return read(pty.slave, line, sizeof(line)) == 3 ? 0 : 1;
              });
              int status = 0;
              if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTTIN) return 1;
              signal(SIGTTOU, SIG_IGN);
              tcsetpgrp(pty.slave, child);
              kill(-child, SIGCONT);
              if (write(pty.master, "ab\n", 3) != 3) return 2;
              return ExitOf(child);
            }),
            0);
}

TEST(JobControl, BackgroundReadWithTtinIgnoredIsEio) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              return RunChild([&] {
                setpgid(0, 0);
                signal(SIGTTIN, SIG_IGN);
                char c = 0;
                return read(pty.slave, &c, 1) == -1 && errno == EIO ? 0 : 1;
              });
            }),
            0);
}

TEST(JobControl, BackgroundWriteStopsWithTostop) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              if (RunChild([&] {
                    setpgid(0, 0);
                    return write(pty.slave, "free", 4) == 4 ? 0 : 1;
                  }) != 0) {
                return 1;
              }
              termios settings{};
              tcgetattr(pty.slave, &settings);
              settings.c_lflag |= TOSTOP;
              tcsetattr(pty.slave, TCSANOW, &settings);
              const pid_t child = Fork([&] {
                setpgid(0, 0);
                return write(pty.slave, "held", 4) == 4 ? 0 : 1;
              });
              int status = 0;
              if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTTOU) return 2;
              Reap(child);
              return 0;
            }),
            0);
}

TEST(JobControl, BackgroundTcsetattrStops) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              const pid_t child = Fork([&] {
                setpgid(0, 0);
                termios settings{};
                tcgetattr(pty.slave, &settings);
                return tcsetattr(pty.slave, TCSANOW, &settings) == 0 ? 0 : 1;
              });
              int status = 0;
              if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTTOU) return 1;
              Reap(child);
              return 0;
            }),
            0);
}

TEST(JobControl, WindowSizeSignalsTheForeground) {
  Pty pty;
  EXPECT_EQ(InSession(pty, [&] {
              static std::atomic<int> count;
              count = 0;
              signal(SIGWINCH, [](int) { ++count; });
              const winsize size{33, 99, 0, 0};
              ioctl(pty.master, TIOCSWINSZ, &size);
              for (int i = 0; i < 1000 && count == 0; ++i) usleep(1000);
              winsize now{};
              ioctl(pty.slave, TIOCGWINSZ, &now);
              if (count != 1 || now.ws_row != 33 || now.ws_col != 99) return 1;
              ioctl(pty.master, TIOCSWINSZ, &size);  // no change, no signal
              usleep(20'000);
              return count == 1 ? 0 : 2;
            }),
            0);
}

TEST(Hangup, ClosingTheMasterHangsUp) {
  Pty pty;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t pid = Fork([&] {
    setsid();
    ioctl(pty.slave, TIOCSCTTY, 0);
    close(pty.master);
    static std::atomic<int> hups;
    signal(SIGHUP, [](int) { ++hups; });
    close(ready[0]);
    close(ready[1]);
    for (int i = 0; i < 5000 && hups == 0; ++i) usleep(1000);
    char c = 0;
    if (hups != 1) return 1;
    if (read(pty.slave, &c, 1) != 0) return 2;
    if (write(pty.slave, &c, 1) != -1 || errno != EIO) return 3;
    return open("/dev/tty", O_RDWR) == -1 && errno == ENXIO ? 0 : 4;
  });
  close(ready[1]);
  char c = 0;
  EXPECT_EQ(read(ready[0], &c, 1), 0);
  close(ready[0]);
  pty.Close();
  EXPECT_EQ(ExitOf(pid), 0);
}

TEST(Hangup, TheLeadersExitTellsTheForeground) {
  Pty pty;
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  EXPECT_EQ(InSession(pty, [&] {
              const pid_t child = Fork([&] {
                static int out;
                out = fds[1];
                signal(SIGHUP, [](int) {
                  [[maybe_unused]] const ssize_t n = write(out, "h", 1);
                  _exit(0);
                });
                [[maybe_unused]] const ssize_t n = write(out, "r", 1);
                while (true) pause();
                return 0;
              });
              char c = 0;
              if (read(fds[0], &c, 1) != 1) return 1;
              return child > 0 ? 0 : 2;
            }),
            0);
  pollfd ready{fds[0], POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 10'000), 1);
  char c = 0;
  EXPECT_EQ(read(fds[0], &c, 1), 1);
  EXPECT_EQ(c, 'h');
  close(fds[0]);
  close(fds[1]);
}

TEST(Orphan, AStoppedGroupGetsHupAndCont) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t middle = Fork([&] {
    const pid_t child = Fork([&] {
      setpgid(0, 0);
      static int out;
      out = fds[1];
      signal(SIGHUP, [](int) { [[maybe_unused]] const ssize_t n = write(out, "h", 1); });
      signal(SIGCONT, [](int) { [[maybe_unused]] const ssize_t n = write(out, "c", 1); });
      raise(SIGSTOP);
      usleep(50'000);
      _exit(0);
      return 0;
    });
    int status = 0;
    if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) return 1;
    return 0;
  });
  EXPECT_EQ(ExitOf(middle), 0);
  close(fds[1]);
  std::string got;
  char c = 0;
  while (read(fds[0], &c, 1) == 1) got += c;
  EXPECT_NE(got.find('h'), std::string::npos);
  EXPECT_NE(got.find('c'), std::string::npos);
  close(fds[0]);
}

TEST(Orphan, TerminalStopsDoNothingToAnOrphanedGroup) {
  EXPECT_EQ(RunChild([] {
              prctl(PR_SET_CHILD_SUBREAPER, 1);
              int fds[2];
              if (pipe(fds) != 0) return 1;
              const pid_t middle = Fork([&] {
                setsid();
                const pid_t child = Fork([&] {
                  while (getppid() != 1 && getsid(getppid()) == getsid(0)) usleep(1000);
                  raise(SIGTSTP);
                  raise(SIGTTIN);
                  return 17;
                });
                return write(fds[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1;
              });
              if (ExitOf(middle) != 0) return 2;
              pid_t child = 0;
              if (read(fds[0], &child, sizeof(child)) != sizeof(child)) return 3;
              return ExitOf(child) == 17 ? 0 : 4;
            }),
            0);
}

}  // namespace
