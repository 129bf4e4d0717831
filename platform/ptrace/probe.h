// Whether ptrace works here, and if not what to do about it. Thread safety: makes and reaps a child process; any thread.
#pragma once

#include <string>

namespace rampart::platform::ptrace {

// Empty, or one line for people: what forbids ptrace and the remedy.
std::string WhyUnavailable();

}  // namespace rampart::platform::ptrace
