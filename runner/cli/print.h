// What sentry-run prints instead of running something.
#pragma once

#include <string>

namespace rampart::runner {

std::string VersionText();

// docs/seccomp.md, whole: the tables of all confined processes.
std::string SeccompDocument();

}  // namespace rampart::runner
