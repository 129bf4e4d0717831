// The command line of sentry-run, as it was written.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rampart::runner {

struct CommandLine {
  std::vector<std::string> binds;    // SRC[:DST][:ro]
  std::vector<std::string> tmpfs;    // DST[:size=…]
  std::vector<std::string> env;      // NAME=VALUE, or NAME (taken from the caller's)
  std::vector<int> pass_fds;
  std::string root;
  std::string user;                  // USER[:GROUP], names or numbers
  std::string workdir;
  std::string hostname;
  std::string memory;
  std::string cpus;
  std::string pids;
  std::string timeout;
  std::string platform;
  std::string debug_log;
  std::string strace_set;
  std::string self_test;
  bool clear_env = false;
  bool rw = false;
  bool strace = false;
  bool stats = false;
  bool version = false;
  bool help = false;
  bool list_syscalls = false;
  bool print_seccomp = false;
  bool print_spec = false;
  std::vector<std::string> command;
};

struct ParsedCommandLine {
  CommandLine line;
  std::string help;  // the text of --help
};

// Errors: kInvalidArgument, one line.
absl::StatusOr<ParsedCommandLine> ParseCommandLine(const std::vector<std::string>& args);

}  // namespace rampart::runner
