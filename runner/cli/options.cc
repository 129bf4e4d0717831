#include "runner/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

void Declare(CLI::App& app, CommandLine& line) {
  app.name("sentry-run");
  app.set_help_flag();
  app.prefix_command();
  const auto list = [&](const char* name, std::vector<std::string>& out, const char* what, const char* type) {
    app.add_option(name, out, what)->type_name(type)->expected(1)->take_all()->allow_extra_args(false);
  };
  list("--bind", line.binds, "Show SRC of the host at DST, writable unless :ro (may be repeated)", "SRC[:DST][:ro]");
  app.add_option("--root", line.root, "Use DIR of the host as the root instead of /")->type_name("DIR");
  list("--tmpfs", line.tmpfs, "An empty in-memory directory at DST (may be repeated)", "DST[:size=SIZE]");
  app.add_flag("--rw", line.rw, "Write through to the host in the current directory");
  list("-e,--env", line.env, "Set a variable; without a value, take it from the environment (may be repeated)", "NAME[=VALUE]");
  app.add_flag("--clear-env", line.clear_env, "Start from an empty environment instead of the caller's");
  app.add_option("-u,--user", line.user, "Run as this user and group inside")->type_name("USER[:GROUP]");
  app.add_option("-w,--workdir", line.workdir, "Start in DIR instead of the current directory")->type_name("DIR");
  app.add_option("--hostname", line.hostname, "The host name inside")->type_name("NAME");
  app.add_option("--memory", line.memory, "At most this much memory")->type_name("SIZE");
  app.add_option("--cpus", line.cpus, "At most this many processors' time")->type_name("N");
  app.add_option("--pids", line.pids, "At most this many processes and threads")->type_name("N");
  app.add_option("--timeout", line.timeout, "End the program after this time, with status 124 (10, 1.5s, 2m, 1h)")->type_name("TIME");
  app.add_option("--platform", line.platform, "How to run application code: kvm, ptrace, or auto (the default): the first of them that works here")->type_name("NAME");
  app.add_option("--strace", line.strace_set, "Print system calls to standard error or the debug log, or only those of SET")
      ->type_name("[=SET]")
      ->expected(0, 1)
      ->allow_extra_args(false);
  app.add_flag("--stats", line.stats, "Print system calls, faults, host calls and times at the end");
  app.add_option("--debug-log", line.debug_log, "Append what the sandbox's own processes have to say to FILE")->type_name("FILE");
  app.add_option("--pass-fd", line.pass_fds, "Hand this open descriptor to the program (may be repeated)")
      ->type_name("FD")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--list-syscalls", line.list_syscalls, "Print every system call with how completely it is there, and how many of each");
  app.add_flag("-V,--version", line.version, "Print the version");
  app.add_flag("-h,--help", line.help, "Print this");
  app.add_flag("--print-seccomp", line.print_seccomp)->group("");
  app.add_flag("--print-spec", line.print_spec)->group("");
  app.add_option("--self-test", line.self_test)->group("");
  app.footer(
      "By default the program sees the host's files read-only under an in-memory overlay, starts in the current directory with\n"
      "the caller's environment, and has no network but loopback. Exit status: the command's own; 128+N when signal N ended it;\n"
      "127 not found, 126 not executable, 125 the sandbox failed, 124 out of time.");
}

std::string HelpOf(const CLI::App& app) {
  std::string help = app.help();
  // The library does not know of commands that follow the options.
  constexpr absl::string_view kUsage = "Usage: sentry-run [OPTIONS]";
  if (const size_t at = help.find(kUsage.data()); at != std::string::npos) {
    help.insert(at + kUsage.size(), " [--] COMMAND [ARGUMENTS…]");
  }
  return help;
}

// "--strace" alone takes no value from the next word, so only the form with '=' may have one.
bool IsOptionWithDetachedValue(const CLI::App& app, const std::string& word) {
  for (const CLI::Option* option : app.get_options()) {
    if (!option->check_name(word)) continue;
    return option->get_items_expected_min() > 0;
  }
  return false;
}

// Where the command begins: CLI11 would look for options of ours in its arguments.
size_t FindCommand(const CLI::App& app, const std::vector<std::string>& args) {
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") return i;
    if (args[i].size() < 2 || args[i][0] != '-') return i;
    if (args[i].find('=') == std::string::npos && IsOptionWithDetachedValue(app, args[i])) ++i;
  }
  return args.size();
}

}  // namespace

absl::StatusOr<ParsedCommandLine> ParseCommandLine(const std::vector<std::string>& args) {
  ParsedCommandLine out;
  CLI::App app("Runs a program in a sandbox whose kernel is Rampart's.");
  Declare(app, out.line);
  const size_t command = FindCommand(app, args);
  std::vector<std::string> options(args.begin(), args.begin() + static_cast<ptrdiff_t>(command));
  const bool strace = std::any_of(options.begin(), options.end(), [](const std::string& word) { return word == "--strace" || absl::StartsWith(word, "--strace="); });
  std::reverse(options.begin(), options.end());  // as CLI11 wants it
  try {                                          // the library reports errors only by exceptions
    app.parse(options);
  } catch (const CLI::Error& error) {
    return UsageError(absl::StrCat(error.what(), " (see sentry-run --help)"));
  }
  if (const auto unknown = app.remaining(); !unknown.empty()) {
    return UsageError(absl::StrCat("unknown option '", unknown[0], "' (see sentry-run --help; a command that begins with '-' goes after '--')"));
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_min() == 0) continue;
    for (const std::string& value : option->results()) {
      if (value.empty()) return UsageError(absl::StrCat(option->get_name(), " needs a value (see sentry-run --help)"));
    }
  }
  out.line.strace = strace;
  const size_t first = command < args.size() && args[command] == "--" ? command + 1 : command;
  out.line.command.assign(args.begin() + static_cast<ptrdiff_t>(std::min(first, args.size())), args.end());
  out.help = HelpOf(app);
  return out;
}

}  // namespace rampart::runner
