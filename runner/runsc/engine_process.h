// What /proc shows of the process that waits for this one: an engine's (containerd's shim, conmon).
// `proc` is a descriptor of the /proc that is looked into, whose numbers count; a NAME in it is "self" or a number.
// Thread safety: all of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rampart::runner {

// Of eventfd(2): the kernel's number of each → written to, and not read since.
using EventDescriptors = std::map<int64_t, bool>;

// Nothing where the process cannot be looked at, or the kernel (before Linux 5.2) does not number them.
std::optional<EventDescriptors> EventDescriptorsOf(int proc, pid_t pid);

// 0: there is no such process.
pid_t ParentOf(int proc, const std::string& name);

// Those that it has not waited for, dead ones included. Empty where the kernel does not tell.
std::vector<pid_t> ChildrenOf(int proc, pid_t pid);

// Its command line. Empty when it is dead.
std::vector<std::string> WordsOf(int proc, pid_t pid);

}  // namespace rampart::runner
