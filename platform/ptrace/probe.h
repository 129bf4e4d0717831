// Whether ptrace works here, and if not what to do about it. Thread safety: makes and reaps a child process; any thread.
#pragma once

#include <string>

namespace rampart::platform::ptrace {

// Empty, or one line for people: what forbids ptrace and the remedy.
std::string WhyUnavailable();

// Remembers what WhyUnavailable will have to say of the host's settings, while the process sees the host's /proc. Before other threads exist.
void NoteHost();

}  // namespace rampart::platform::ptrace
