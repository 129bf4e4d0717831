// Tells engines that a container ran out of memory (`docker inspect`: OOMKilled). They watch the host's cgroup for it; but the kernel inside, which enforces the
// limit exactly, has killed a process before the wider limit of that cgroup was reached. So the host is made to see the same: a process of ours in the group asks for more
// than the group may have, and is killed for it.
//
// Order. What an engine hears of the group and what it hears of the container's end come by different ways, and it believes the first to be true only if it comes first.
// cgroup v1 writes to an event descriptor of the engine's process that waits for this one. It makes that descriptor when the command that starts the container has ended,
// reads it, passes on what it has read, and only then reads again: two notices that have been read are one that has been passed on. cgroup v2 leaves no trace of who has
// been told: there, some time is given.
// Thread safety: one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "runner/cgroup/container_cgroup.h"
#include "runner/runsc/engine_process.h"

namespace rampart::runner {

class OomNotice {
 public:
  // Opens what it takes while the host's names are in reach, and the parent of this process is who creates the container. Without a group for memory it does nothing.
  // `limited`: the container's memory is, so that it may come to it (else only after an update).
  static OomNotice Open(const std::vector<ContainerGroup>& groups, bool limited);
  // The program of the container `id` runs: whoever started it is about to be told.
  void Started(const std::string& id);
  // When the sandbox has ended. REQUIRES: this process is in the group, and has one thread.
  void Give() const;

 private:
  enum class Answer : uint8_t { kKilled, kGranted, kNone };
  enum class Listener : uint8_t { kReads, kAbsent, kUnknown };
  // What became of a process that asked for more than the group has now; `limit` is the group's.
  Answer Ask(const std::string& limit) const;
  Answer AskUntilKilled(Nanos& took) const;
  pid_t Parent() const { return ParentOf(proc_.get(), "self"); }
  // Until the engine knows that the container has been started. False: that takes too long.
  bool AwaitStarters() const;
  // Who watches the group, once he does. It may be that nobody will.
  Listener AwaitListener() const;
  // Until he has read what was written. False: that takes too long.
  bool AwaitRead() const;
  // Those that the engine has for this container; nothing where it cannot be looked at.
  std::optional<EventDescriptors> NewDescriptors() const;

  bool tells_ = false;  // by event descriptors: cgroup v1
  UniqueFd limit_;
  UniqueFd usage_;
  UniqueFd proc_;
  std::set<int64_t> old_;        // the engine's descriptors before it knew the container
  std::set<pid_t> elders_;       // its children then
  std::vector<pid_t> starters_;  // children of the engine, one of which has had the container started
};

}  // namespace rampart::runner
