#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "runner/monitor/kernel_log.h"
#include "runner/monitor/stats.h"
#include "runner/monitor/supervisor.h"

namespace rampart::runner {
namespace {

using sentry::boot::ControlMessage;
using sentry::boot::ControlType;
using sentry::boot::StartFailure;
using testing::HasSubstr;

TEST(SeccompRecord, IsReadOnlyForThePid) {
  const char record[] =
      "4,1,2,-;audit: type=1326 audit(1.4:2): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=5899 comm=\"pid=1 syscall=9\" exe=\"/tmp/sv\" "
      "sig=31 arch=c000003e syscall=41 compat=0 ip=0x7f code=0x80000000\n";
  EXPECT_EQ(ParseSeccompRecord(record, 5899), 41u);
  EXPECT_EQ(ParseSeccompRecord(record, 1), std::nullopt);
  EXPECT_EQ(ParseSeccompRecord("audit: type=1300 pid=5899 syscall=41", 5899), std::nullopt);
}

TEST(Stats, AnyNumbersPrint) {
  auto report = std::make_unique<sentry::boot::StatsReport>();
  report->syscalls[0] = {3, 1, 9000};
  report->syscalls[257] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
  const std::string text = FormatStats(*report);
  EXPECT_THAT(text, HasSubstr("openat"));
  EXPECT_LT(text.find("openat"), text.find("read  "));
  EXPECT_THAT(text, HasSubstr("3.00 µs"));
}

// Plays the sentry: `script` runs in a child that has the other end of the control socket.
class SupervisorTest : public testing::Test {
 protected:
  template <class Script, class Gofer>
  Outcome Play(Script script, Gofer gofer_script, Nanos timeout = 0) {
    auto signals = CallerSignals::Take();
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const auto sentry = CloneChild(0, [&] {
      ::close(ends[0]);
      script(theirs.get());
    });
    const auto gofer = CloneChild(0, gofer_script);
    theirs.Reset();
    Watched watched{.sentry = *sentry, .gofer = *gofer, .control_fd = ours.get(), .timeout = timeout};
    Outcome outcome = Supervise(watched, *signals);
    EXPECT_EQ(::kill(sentry->pid, 0), -1);
    EXPECT_EQ(::kill(gofer->pid, 0), -1);
    return outcome;
  }
  static void Say(int fd, ControlType type, uint32_t value = 0, uint32_t detail = 0, const char* text = "") {
    ControlMessage message{.type = type, .value = value, .detail = detail, .text_length = static_cast<uint32_t>(std::strlen(text))};
    std::memcpy(message.text, text, message.text_length);
    ::send(fd, &message, sizeof(message), 0);
  }
  static void Forever() {
    CallerSignals::ResetInChild();
    for (;;) ::pause();
  }
};

TEST_F(SupervisorTest, ReturnsTheProgramsStatus) {
  const Outcome outcome = Play(
      [](int fd) {
        Say(fd, ControlType::kStarted);
        Say(fd, ControlType::kExited, 3 << 8);
        ::_exit(0);
      },
      Forever);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kExited);
  EXPECT_EQ(ExitStatusOf(outcome), 3);
  EXPECT_EQ(MessageOf(outcome, "x"), "");
}

TEST_F(SupervisorTest, ASignalBecomes128PlusN) {
  const Outcome outcome = Play(
      [](int fd) {
        Say(fd, ControlType::kStarted);
        Say(fd, ControlType::kExited, 11);
        ::_exit(0);
      },
      Forever);
  EXPECT_EQ(ExitStatusOf(outcome), 139);
}

TEST_F(SupervisorTest, StartFailuresAreAsInAShell) {
  auto fail = [&](StartFailure failure, const char* text) {
    return Play(
        [=](int fd) {
          Say(fd, ControlType::kStartFailed, static_cast<uint32_t>(failure), 2, text);
          ::_exit(0);
        },
        Forever);
  };
  Outcome outcome = fail(StartFailure::kNotFound, "");
  EXPECT_EQ(ExitStatusOf(outcome), 127);
  EXPECT_EQ(MessageOf(outcome, "prog"), "prog: No such file or directory");
  outcome = fail(StartFailure::kNotExecutable, "x\033[2J");
  EXPECT_EQ(ExitStatusOf(outcome), 126);
  EXPECT_EQ(MessageOf(outcome, "prog"), "x?[2J");
  EXPECT_EQ(ExitStatusOf(fail(StartFailure::kSandbox, "s")), 125);
}

TEST_F(SupervisorTest, ADeadSentryIsReportedAndTheGoferTakenDown) {
  const Outcome outcome = Play(
      [](int fd) {
        Say(fd, ControlType::kStarted);
        CallerSignals::ResetInChild();
        ::kill(::getpid(), SIGKILL);
      },
      Forever);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kSentryDied);
  EXPECT_EQ(ExitStatusOf(outcome), 125);
  EXPECT_THAT(MessageOf(outcome, "x"), HasSubstr("the sentry was killed by signal 9"));
}

TEST_F(SupervisorTest, ADeadGoferIsReportedAndTheSentryTakenDown) {
  const Outcome outcome = Play(
      [](int fd) {
        Say(fd, ControlType::kStarted);
        Forever();
      },
      [] { ::_exit(3); });
  EXPECT_EQ(outcome.kind, Outcome::Kind::kGoferDied);
  EXPECT_THAT(MessageOf(outcome, "x"), HasSubstr("the gofer ended unexpectedly with status 3"));
}

TEST_F(SupervisorTest, TheTimeLimitEndsAProgramThatIgnoresSigterm) {
  const Outcome outcome = Play(
      [](int fd) {
        Say(fd, ControlType::kStarted);
        Forever();
      },
      Forever, 20 * kNanosPerMilli);
  EXPECT_EQ(outcome.kind, Outcome::Kind::kTimedOut);
  EXPECT_EQ(ExitStatusOf(outcome), 124);
}

TEST_F(SupervisorTest, SignalsReachTheSentry) {
  const pid_t self = ::getpid();
  const Outcome outcome = Play(
      [self](int fd) {
        Say(fd, ControlType::kStarted);
        ::usleep(20'000);
        ::kill(self, SIGUSR1);
        ControlMessage message;
        if (::recv(fd, &message, sizeof(message), 0) != sizeof(message) || message.type != ControlType::kSignal) ::_exit(1);
        Say(fd, ControlType::kExited, message.value << 8);
        ::_exit(0);
      },
      Forever);
  EXPECT_EQ(ExitStatusOf(outcome), SIGUSR1);
}

TEST_F(SupervisorTest, ASignalBeforeTheStartIsKeptForTheProgram) {
  const pid_t self = ::getpid();
  const Outcome outcome = Play(
      [self](int fd) {
        ::kill(self, SIGUSR1);
        ::usleep(50'000);  // most likely read by then; the outcome is the same if not
        Say(fd, ControlType::kStarted);
        ControlMessage message;
        if (::recv(fd, &message, sizeof(message), 0) != sizeof(message) || message.type != ControlType::kSignal) ::_exit(1);
        Say(fd, ControlType::kExited, message.value << 8);
        ::_exit(0);
      },
      Forever);
  EXPECT_EQ(ExitStatusOf(outcome), SIGUSR1);
}

TEST_F(SupervisorTest, GarbageFromTheSentryIsDropped) {
  const Outcome outcome = Play(
      [](int fd) {
        ::send(fd, "x", 1, 0);
        Say(fd, ControlType::kExited, 0);  // before kStarted
        Say(fd, static_cast<ControlType>(77));
        ControlMessage message{.type = ControlType::kStartFailed, .value = 1, .detail = 0, .text_length = UINT32_MAX};
        ::send(fd, &message, sizeof(message), 0);
        Say(fd, ControlType::kStarted);
        Say(fd, ControlType::kExited, 5 << 8);
        ::_exit(0);
      },
      Forever);
  EXPECT_EQ(ExitStatusOf(outcome), 5);
}

}  // namespace
}  // namespace rampart::runner
