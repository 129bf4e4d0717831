#include "tests/terminal/terminal_session.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace rampart::terminal {
namespace {

using Clock = std::chrono::steady_clock;

int MillisUntil(Clock::time_point end) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count());
}

}  // namespace

TerminalSession::TerminalSession(const std::vector<std::string>& argv) {
  winsize size{24, 80, 0, 0};
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = forkpty(&master_, nullptr, nullptr, &size);
  if (pid_ == 0) {
    for (int signo = 1; signo < 32; ++signo) signal(signo, SIG_DFL);
    setenv("PS1", "$ ", 1);
    setenv("TERM", "dumb", 1);
    setenv("HISTFILE", "", 1);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
}

TerminalSession::~TerminalSession() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(master_);
}

void TerminalSession::Type(std::string_view keys) { EXPECT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size())); }

bool TerminalSession::ReadMore(int milliseconds) {
  pollfd fd{master_, POLLIN, 0};
  if (poll(&fd, 1, std::max(milliseconds, 0)) != 1) return false;
  char block[4096];
  const ssize_t n = read(master_, block, sizeof(block));
  if (n <= 0) return false;
  pending_.append(block, static_cast<size_t>(n));
  seen_.append(block, static_cast<size_t>(n));
  return true;
}

bool TerminalSession::Expect(std::string_view text, int seconds) {
  const Clock::time_point end = Clock::now() + std::chrono::seconds(seconds);
  while (true) {
    const size_t at = pending_.find(text);
    if (at != std::string::npos) {
      pending_.erase(0, at + text.size());
      return true;
    }
    if (MillisUntil(end) <= 0 || (!ReadMore(MillisUntil(end)) && (MillisUntil(end) <= 0 || usleep(10'000) != 0))) break;
  }
  ADD_FAILURE() << "\"" << text << "\" did not appear. The screen:\n" << seen_;
  return false;
}

std::string TerminalSession::Listen(int milliseconds) {
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(milliseconds);
  while (MillisUntil(end) > 0) {
    if (!ReadMore(MillisUntil(end))) usleep(1000);
  }
  return std::exchange(pending_, {});
}

void TerminalSession::Resize(int rows, int columns) {
  winsize size{static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0};
  EXPECT_EQ(ioctl(master_, TIOCSWINSZ, &size), 0);
}

int TerminalSession::WaitForEnd(int seconds) {
  const Clock::time_point end = Clock::now() + std::chrono::seconds(seconds);
  while (MillisUntil(end) > 0) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      while (ReadMore(0)) {
      }
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    ReadMore(20);  // a full terminal would keep it from ending
  }
  ADD_FAILURE() << "it did not end. The screen:\n" << seen_;
  return -1;
}

std::vector<std::string> Inside(std::vector<std::string> argv, const std::vector<std::string>& options) {
  std::vector<std::string> all = {SENTRY_RUN};
  all.insert(all.end(), options.begin(), options.end());
  all.emplace_back("--");
  all.insert(all.end(), argv.begin(), argv.end());
  return all;
}

}  // namespace rampart::terminal
