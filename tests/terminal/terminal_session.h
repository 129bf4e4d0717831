// TerminalSession: a program on a pseudo terminal of its own, driven as a person would: type, read what appears, resize the window.
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace rampart::terminal {

inline constexpr char kIntr = '\x03', kEof = '\x04', kSusp = '\x1a', kQuit = '\x1c';

class TerminalSession {
 public:
  // Starts `argv` as the leader of a session whose controlling terminal is a new pty of 24 lines and 80 columns.
  explicit TerminalSession(const std::vector<std::string>& argv);
  TerminalSession(const TerminalSession&) = delete;
  TerminalSession& operator=(const TerminalSession&) = delete;
  // Kills what is left of the session.
  ~TerminalSession();

  void Type(std::string_view keys);
  void Type(char key) { Type(std::string_view(&key, 1)); }
  // Waits until `text` has appeared after what was expected before; false (with a failure that shows the screen) after a time.
  bool Expect(std::string_view text, int seconds = 20);
  // What has appeared since the last Expect, after `milliseconds` of listening.
  std::string Listen(int milliseconds);
  void Resize(int rows, int columns);
  // The exit status as a shell gives it; -1 when it does not end within the time.
  int WaitForEnd(int seconds = 20);
  pid_t pid() const { return pid_; }
  int master() const { return master_; }

 private:
  bool ReadMore(int milliseconds);

  int master_ = -1;
  pid_t pid_ = -1;
  std::string pending_;  // appeared, not yet expected
  std::string seen_;     // everything, for failures
};

// `argv` run by sentry-run.
std::vector<std::string> Inside(std::vector<std::string> argv, const std::vector<std::string>& options = {});

}  // namespace rampart::terminal
