// Tells engines that a container ran out of memory (`docker inspect`: OOMKilled). They watch the host's cgroup for it; but the kernel inside, which enforces the
// limit exactly, has killed a process before the wider limit of that cgroup was reached. So the host is made to see the same: a process of ours in the group asks for more
// than the group may have, and is killed for it.
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/unique_fd.h"
#include "runner/cgroup/container_cgroup.h"

namespace rampart::runner {

class OomNotice {
 public:
  // Opens what it takes while the host's names are in reach. Without a group for memory it does nothing.
  static OomNotice Open(const std::vector<ContainerGroup>& groups);
  // When the sandbox has ended. REQUIRES: this process is in the group, and has one thread.
  void Give() const;

 private:
  enum class Answer : uint8_t { kKilled, kGranted, kNone };
  // What became of a process that asked for more than the group has now.
  Answer Ask() const;

  UniqueFd limit_;
  UniqueFd usage_;
  UniqueFd proc_;
};

}  // namespace rampart::runner
