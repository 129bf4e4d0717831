#include "sentry/boot/control_report.h"

#include <sys/sysmacros.h>

#include <span>

#include "absl/strings/str_cat.h"
#include "base/time.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/mm/statistics.h"

namespace rampart::sentry::boot {
namespace {

constexpr uint64_t kMostCommand = 4096;
constexpr int kMostProcesses = 32768;

// Its arguments, with spaces between; its name when they cannot be read.
std::string CommandOf(const kernel::Task& task) {
  const RefPtr<mm::MemoryManager> mm = task.GetMm();
  if (!mm) return "[" + task.name() + "]";
  const mm::ImageLayout layout = mm->layout();
  if (layout.arg_start == 0 || layout.arg_end <= layout.arg_start) return "[" + task.name() + "]";
  std::string text(std::min<uint64_t>(layout.arg_end - layout.arg_start, kMostCommand), '\0');
  const Result<size_t> n = mm->ForceCopyIn(layout.arg_start, std::as_writable_bytes(std::span(text)));
  text.resize(n.ok() ? *n : 0);
  while (!text.empty() && text.back() == '\0') text.pop_back();
  for (char& c : text) {
    if (c == '\0') c = ' ';
  }
  return text.empty() ? "[" + task.name() + "]" : text;
}

std::string TtyOf(uint64_t device) {
  constexpr unsigned kPtsMajor = 136;
  if (device == 0) return "?";
  return major(device) == kPtsMajor ? absl::StrCat("pts/", minor(device)) : "tty";
}

}  // namespace

void ReportProcesses(kernel::Kernel& kernel, uint32_t container, const kernel::PidNamespace& ns, control::ProcessesResponse& out) {
  const Nanos now = MonotonicNow();
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    const RefPtr<kernel::Task> leader = group->leader();
    if (!leader || group->exited() || group->container() != container || out.processes_size() >= kMostProcesses) continue;
    const kernel::TaskView view = kernel::ViewOf(*leader);
    control::Process& process = *out.add_processes();
    process.set_pid(group->PidIn(ns));
    process.set_parent(group->ParentPidIn(ns));
    const Ref<const auth::Credentials> creds = leader->GetCreds();
    process.set_uid(creds->euid);
    process.set_gid(creds->egid);
    process.set_threads(static_cast<uint32_t>(view.threads));
    process.set_state(std::string(1, view.state));
    process.set_tty(TtyOf(view.tty_device));
    process.set_start_nanos(now - group->start_time());
    process.set_cpu_nanos(view.group_user_time + view.group_system_time);
    process.set_name(leader->name());
    process.set_command(CommandOf(*leader));
  }
}

void ReportStats(kernel::Kernel& kernel, uint32_t container, control::StatsResponse& out) {
  const mm::MemoryFile::Usage memory = kernel.memory_file()->usage();
  out.set_memory_bytes(memory.used_bytes);
  out.set_memory_limit(memory.limit_bytes);
  out.set_memory_peak(mm::PeakMemoryBytes());
  // Of a pod's further containers, who ended counts for the first.
  kernel::ResourceTotals usage;
  if (container == 0) usage = kernel::UsageOfTheGone(kernel);
  uint64_t processes = 0;
  uint64_t tasks = 0;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    if (group->container() != container) continue;
    ++processes;
    for (const Ref<kernel::Task>& task : group->Tasks()) {
      ++tasks;
      usage += task->Usage();
    }
  }
  out.set_processes(processes);
  out.set_tasks(tasks);
  out.set_tasks_limit(kernel.max_tasks());
  out.set_user_nanos(static_cast<uint64_t>(usage.user_time));
  out.set_system_nanos(static_cast<uint64_t>(usage.system_time));
  out.set_memory_kills(kernel.out_of_memory_kills());
  out.set_paused(kernel.paused());
}

std::string ReportTasks(kernel::Kernel& kernel) {
  std::string text;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    for (const Ref<kernel::Task>& task : group->Tasks()) {
      const kernel::TaskView view = kernel::ViewOf(*task);
      absl::StrAppend(&text, "process ", group->pid(), " thread ", task->tid(), " ", std::string(1, view.state), " '", task->name(), "' user ",
                      view.user_time / 1'000'000, " ms, system ", view.system_time / 1'000'000, " ms, seccomp mode ", task->seccomp_mode(),
                      ", signals pending ", view.pending | view.shared_pending, " blocked ", view.blocked, "\n");
    }
  }
  return text;
}

}  // namespace rampart::sentry::boot
