// Host-side limits of a sandbox: a cgroup of its own, in the v1 hierarchies or in the v2 one, whichever has the controller.
//
// Model. The kernel inside enforces --memory and --pids by itself, exactly; the cgroup is the second wall around the sentry's own memory and
// tasks, so its limits are wider (MemoryHeadroom, TaskLimit). --cpus is enforced only here. Whoever may not make cgroups gets the
// inner limits alone; what has no inner limit is refused with the remedy.
//
// Ownership: the Cgroup removes its directories when destroyed; a janitor process (monitor/janitor.h) does so if the runner is killed.
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rampart::runner {

struct CgroupLimits {
  uint64_t memory_bytes = 0;  // 0 = none
  int64_t cpu_quota = 0;      // microseconds in each period; 0 = none
  uint64_t cpu_period = 100'000;
  uint64_t tasks = 0;         // 0 = none
};

// What the sentry and the gofer need beyond the application's memory; in proportion, the page tables that map it in the sentry and in the stubs.
constexpr uint64_t MemoryHeadroom(uint64_t memory) { return (uint64_t{96} << 20) + memory / 32; }
// Host tasks that a sandbox of `pids` tasks can need: a thread and a stub thread each, a stub process per address space with up to four
// parked threads; then idle threads, idle stub processes of two threads (platform/ptrace keeps 64 at most) and helpers.
constexpr uint64_t TaskLimit(uint64_t pids) { return 7 * pids + 256; }

// Where a controller can be found. Directories are absolute, without a trailing slash.
struct CgroupPlace {
  std::string controller;  // "memory", "cpu", "pids"
  bool v2 = false;
  std::string parent;      // new groups are made here
  std::string mount;       // the hierarchy's mount point
};

// From the texts of /proc/self/mountinfo and /proc/self/cgroup; controllers of `wanted` that are nowhere are left out.
std::vector<CgroupPlace> FindPlaces(const std::string& mountinfo, const std::string& self_cgroup,
                                    const std::vector<std::string>& wanted);

class Cgroup {
 public:
  Cgroup() = default;
  Cgroup(Cgroup&&) = default;
  Cgroup& operator=(Cgroup&&) = default;
  ~Cgroup();

  // One controller of a group, and where its directory is or will be.
  struct Part {
    CgroupPlace place;
    std::string directory;
  };
  // Where Create would make what; makes nothing. Errors: as Create's.
  static absl::StatusOr<std::vector<Part>> Locate(const std::string& name, const CgroupLimits& limits);

  // Makes a group called `name` with `limits`; without limits, an empty Cgroup that does nothing. Errors name the controller and the
  // directory; kPermissionDenied when this user may not, kUnavailable when the host has no such controller.
  static absl::StatusOr<Cgroup> Create(const std::string& name, const CgroupLimits& limits);

  absl::Status Add(pid_t pid);
  // Removes the directories; the processes in them must be gone or going: retries for up to a second. Idempotent.
  void Remove();
  bool empty() const { return directories_.empty(); }
  const std::vector<std::string>& directories() const { return directories_; }

 private:
  std::vector<std::string> directories_;
};

// rmdir until it works or the directory is not there, up to `attempts` times 10 ms. True when gone.
bool RemoveCgroupDirectory(const std::string& directory, int attempts);

}  // namespace rampart::runner
