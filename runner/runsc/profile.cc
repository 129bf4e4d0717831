// profile: what a workload needs of the kernel, as a seccomp profile.
#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <set>

#include "abi/sysno.h"
#include "absl/strings/str_cat.h"
#include "runner/cli/sentry_run.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/command.h"
#include "runner/runsc/spec_check.h"
#include "runner/sandbox/launcher.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// Needed by every program, or made by the vDSO and by signals without a call that could be counted here.
constexpr const char* kAlways[] = {"execve", "exit", "exit_group", "rt_sigreturn", "restart_syscall", "clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu"};

struct RecordOptions {
  std::string bundle;
  std::string output;
};

absl::StatusOr<oci::Spec> SpecOfBundle(const std::string& bundle) {
  const std::string file = bundle + "/config.json";
  const std::string text = TRY_STATUS(ReadWholeFile(file, oci::kMaxBytes));
  auto spec = oci::ParseSpec(text);
  absl::Status status = spec.status();
  if (status.ok()) status = CheckSpec(*spec);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", status.message()));
  if (spec->root->path[0] != '/') spec->root->path = absl::StrCat(bundle, "/", spec->root->path);
  return spec;
}

std::string ProfileText(const sentry::boot::StatsReport& stats) {
  std::set<std::string> names(std::begin(kAlways), std::end(kAlways));
  for (uint32_t number = 0; number <= abi::kMaxSysno; ++number) {
    const std::string name = abi::SysnoName(number);
    if (stats.syscalls[number].calls > 0 && name != "sys_?") names.insert(name);
  }
  using Json = nlohmann::ordered_json;
  const Json profile{{"defaultAction", "SCMP_ACT_ERRNO"},
                     {"defaultErrnoRet", 1},
                     {"architectures", {"SCMP_ARCH_X86_64"}},
                     {"syscalls", Json::array({Json{{"names", names}, {"action", "SCMP_ACT_ALLOW"}}})}};
  return profile.dump(2) + "\n";
}

}  // namespace

CommandResult ProfileCommand(Invocation& invocation) {
  if (invocation.words.empty() || invocation.words[0] != "record") return UsageError("profile: record is expected (see runsc help profile)");
  invocation.words.erase(invocation.words.begin());
  RecordOptions wanted;
  Flags flags;
  flags.String("bundle", &wanted.bundle, "run this bundle's program, instead of a command over the host's files");
  flags.Alias("b");
  flags.String("output", &wanted.output, "file for the profile (default: profile.json)");
  flags.Alias("o");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "profile", flags));
  if (words.empty() == wanted.bundle.empty()) return UsageError("profile record: either a command or --bundle is expected (see runsc help profile)");
  SandboxOptions options = OptionsOf(invocation.config, "profile", "profile");
  oci::Spec spec;
  if (wanted.bundle.empty()) {
    std::vector<std::string> line = {"--"};
    line.insert(line.end(), words.begin(), words.end());
    spec = TRY_STATUS(ParseSentryRun(line, invocation.caller)).spec;
  } else {
    spec = TRY_STATUS(SpecOfBundle(wanted.bundle));
  }
  options.stats = true;
  options.seccomp_profile = false;
  // Traced, but nothing is printed: so no call is answered without being counted.
  options.strace = true;
  options.strace_set = "!all";
  const Outcome outcome = TRY_STATUS(RunInSandbox(spec, options, invocation.caller));
  if (const std::string message = MessageOf(outcome, spec.process->args[0]); !message.empty()) WriteAll(2, absl::StrCat("runsc: ", message, "\n"));
  if (!outcome.have_stats) return absl::FailedPreconditionError("profile record: the sandbox ended without its statistics: no profile is written");
  const std::string path = wanted.output.empty() ? "profile.json" : wanted.output;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid() || !WriteAll(fd.get(), ProfileText(outcome.stats))) return SystemError(absl::StrCat("write ", path));
  return ExitStatusOf(outcome);
}

}  // namespace rampart::runner
