#include "sentry/fs/cgroup/cgroup.h"

#include <functional>
#include <string>

#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/statistics.h"

namespace rampart::fs::cgroup {
namespace {

using Text = Result<std::string>;
using Make = std::string (*)(kernel::Kernel& kernel, const CpuMax& cpu, Caller& caller);

class Cgroup2 final : public vfs::Filesystem {
 public:
  Cgroup2(kernel::Kernel& kernel, const CpuMax& cpu) : Filesystem("cgroup2"), kernel_(kernel), cpu_(cpu) {}
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& /*caller*/) override {
    vfs::FsStats stats;
    stats.magic = 0x63677270;
    return stats;
  }

 private:
  kernel::Kernel& kernel_;
  const CpuMax& cpu_;
};

std::string Line(uint64_t number) { return std::to_string(number) + "\n"; }
std::string LineOrMax(uint64_t limit) { return limit == 0 ? "max\n" : Line(limit); }

uint32_t ContainerOf(Caller& caller) { return caller.task() != nullptr ? caller.task()->group().container() : 0; }

std::string Controllers(kernel::Kernel&, const CpuMax&, Caller&) { return "cpuset cpu memory pids\n"; }
std::string Type(kernel::Kernel&, const CpuMax&, Caller&) { return "domain\n"; }
std::string None(kernel::Kernel&, const CpuMax&, Caller&) { return ""; }
std::string Zero(kernel::Kernel&, const CpuMax&, Caller&) { return "0\n"; }
std::string Max(kernel::Kernel&, const CpuMax&, Caller&) { return "max\n"; }
std::string Events(kernel::Kernel& kernel, const CpuMax&, Caller&) { return kernel.paused() ? "populated 1\nfrozen 1\n" : "populated 1\nfrozen 0\n"; }
std::string Stat(kernel::Kernel&, const CpuMax&, Caller&) { return "nr_descendants 0\nnr_dying_descendants 0\n"; }

std::string Procs(kernel::Kernel& kernel, const CpuMax&, Caller& caller) {
  std::string text;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    if (group->container() == ContainerOf(caller) && !group->exited()) text += Line(static_cast<uint64_t>(kernel::SeenPid(caller, group->pid())));
  }
  return text;
}

std::string Threads(kernel::Kernel& kernel, const CpuMax&, Caller& caller) {
  std::string text;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    if (group->container() != ContainerOf(caller)) continue;
    for (const Ref<kernel::Task>& task : group->Tasks()) text += Line(static_cast<uint64_t>(kernel::SeenPid(caller, task->tid())));
  }
  return text;
}

std::string CpuLimit(kernel::Kernel&, const CpuMax& cpu, Caller&) {
  const int64_t quota = cpu.quota.load();
  return (quota <= 0 ? "max" : std::to_string(quota)) + " " + Line(cpu.period.load());
}

std::string CpuStat(kernel::Kernel& kernel, const CpuMax&, Caller&) {
  kernel::ResourceTotals usage = kernel::UsageOfTheGone(kernel);
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    for (const Ref<kernel::Task>& task : group->Tasks()) usage += task->Usage();
  }
  constexpr Nanos kMicro = 1000;
  const auto user = static_cast<uint64_t>(usage.user_time / kMicro);
  const auto system = static_cast<uint64_t>(usage.system_time / kMicro);
  return "usage_usec " + Line(user + system) + "user_usec " + Line(user) + "system_usec " + Line(system);
}

std::string Cpus(kernel::Kernel& kernel, const CpuMax&, Caller&) { return kernel.cpus() <= 1 ? "0\n" : "0-" + Line(kernel.cpus() - 1); }
std::string MemoryMax(kernel::Kernel& kernel, const CpuMax&, Caller&) { return LineOrMax(kernel.memory_file()->usage().limit_bytes); }
std::string MemoryCurrent(kernel::Kernel& kernel, const CpuMax&, Caller&) { return Line(kernel.memory_file()->usage().used_bytes); }
std::string MemoryPeak(kernel::Kernel&, const CpuMax&, Caller&) { return Line(mm::PeakMemoryBytes()); }
std::string MemoryEvents(kernel::Kernel& kernel, const CpuMax&, Caller&) {
  const std::string kills = Line(kernel.out_of_memory_kills());
  return "low 0\nhigh 0\nmax 0\noom " + kills + "oom_kill " + kills + "oom_group_kill 0\n";
}
std::string PidsMax(kernel::Kernel& kernel, const CpuMax&, Caller&) { return LineOrMax(kernel.max_tasks()); }
std::string PidsCurrent(kernel::Kernel& kernel, const CpuMax&, Caller&) { return Line(kernel.task_count()); }

struct File {
  const char* name;
  Make make;
};
constexpr File kFiles[] = {{"cgroup.controllers", Controllers}, {"cgroup.events", Events}, {"cgroup.freeze", Zero}, {"cgroup.procs", Procs}, {"cgroup.stat", Stat},
                           {"cgroup.subtree_control", None}, {"cgroup.threads", Threads}, {"cgroup.type", Type},
                           {"cpu.max", CpuLimit}, {"cpu.stat", CpuStat}, {"cpuset.cpus.effective", Cpus}, {"cpuset.mems.effective", Zero},
                           {"memory.current", MemoryCurrent}, {"memory.events", MemoryEvents}, {"memory.high", Max}, {"memory.low", Zero}, {"memory.max", MemoryMax},
                           {"memory.min", Zero}, {"memory.peak", MemoryPeak}, {"memory.swap.current", Zero}, {"memory.swap.max", Zero},
                           {"pids.current", PidsCurrent}, {"pids.max", PidsMax}};

Ref<vfs::Inode> Cgroup2::root() {
  const Ref<vfs::Filesystem> self = ShareRef(this);
  auto root = MakeRef<pseudo::PseudoDirectory>(self);
  for (const File& file : kFiles) {
    root->Add(file.name, MakeRef<pseudo::FunctionFile>(self, 0444, [this, make = file.make](Caller& caller) -> Text { return make(kernel_, cpu_, caller); }));
  }
  return root;
}

}  // namespace

Ref<vfs::Filesystem> NewCgroup2(kernel::Kernel& kernel, const CpuMax& cpu) { return MakeRef<Cgroup2>(kernel, cpu); }

}  // namespace rampart::fs::cgroup
