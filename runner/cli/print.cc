#include "runner/cli/print.h"

#include "absl/strings/str_cat.h"
#include "platform/registry/registry.h"
#include "runner/sandbox/gofer_policy.h"
#include "runner/seccomp/describe.h"
#include "sentry/boot/seccomp_table.h"

namespace rampart::runner {
namespace {

void Append(std::string& out, const std::string& title, const seccomp::Policy& policy) {
  absl::StrAppend(&out, "\n## ", title, ": ", policy.allowed.size(), " system calls\n\n", seccomp::Describe(policy));
}

}  // namespace

std::string VersionText() { return "sentry-run 0.1.0 (Rampart; Linux x86-64)\n"; }

std::string SeccompDocument() {
  std::string out =
      "# The host system calls of a sandbox\n\n"
      "Printed by `sentry-run --print-seccomp` from the tables that the filters are compiled from; do not edit. What is not listed kills "
      "the process, and with it the sandbox. `arg2 ⊆ 3` means that no other bits may be set; an `int` argument is compared in its lower "
      "half, as the kernel reads it. Application code itself makes no host system call at all.\n";
  for (const platform::PlatformInfo* platform : platform::Platforms()) {
    const auto policy = sentry::boot::SentryPolicy(*platform);
    Append(out, absl::StrCat("Sentry on the platform ", platform->name), policy);
  }
  Append(out, "Gofer", GoferPolicy(/*host_sockets=*/false));
  Append(out, "Gofer that may connect to the host's UNIX sockets", GoferPolicy(/*host_sockets=*/true));
  return out;
}

}  // namespace rampart::runner
