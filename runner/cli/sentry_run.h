// sentry-run: runs a program in a sandbox from the command line. A thin front: options become an OCI specification and SandboxOptions, and
// the launcher does the rest.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"
#include "runner/sandbox/caller.h"
#include "runner/sandbox/options.h"

namespace rampart::runner {

struct SentryRunRequest {
  oci::Spec spec;
  SandboxOptions options;
  // When not empty, this is to be printed, and nothing to be run (--help, --version, the hidden --print-…).
  std::string print;
};

// Parses the command line (without argv[0]). Errors: one line that names the option and the remedy.
absl::StatusOr<SentryRunRequest> ParseSentryRun(const std::vector<std::string>& args, const Caller& caller);

// The whole command: parse, run, report. Returns the exit status.
int SentryRunMain(int argc, char** argv);

}  // namespace rampart::runner
