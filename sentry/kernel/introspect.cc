#include "sentry/kernel/introspect.h"

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/vfs/terminal.h"

namespace rampart::kernel {

abi::Pid SeenPid(Caller& reader, abi::Pid pid) { return reader.task() != nullptr ? reader.task()->ToOwn(pid) : pid; }

ResourceTotals UsageOfTheGone(Kernel& kernel) {
  absl::MutexLock lock(&kernel.state().gone_mu);
  return kernel.state().gone;
}

TaskView ViewOf(const Task& task) {
  const ThreadGroup& group = task.group();
  TaskView view;
  view.state = group.exited() ? 'Z' : task.StateLetter();
  view.threads = static_cast<int>(std::max<size_t>(1, group.Tasks().size()));
  view.nice = task.nice();
  view.pending = task.OwnPendingSet();
  view.shared_pending = group.PendingSet();
  view.blocked = task.signal_mask();
  view.ignored = group.IgnoredSet();
  view.caught = group.CaughtSet();
  view.signal_queue_size = group.QueuedSignals();
  view.exit_signal = group.exit_signal();
  view.start_time = task.start_time();
  view.user_time = task.user_time();
  view.system_time = task.system_time();
  const ResourceTotals usage = group.Usage();
  view.group_user_time = usage.user_time;
  view.group_system_time = usage.system_time;
  const ResourceTotals children = group.ChildrenUsage();
  view.children_user_time = children.user_time;
  view.children_system_time = children.system_time;
  view.scheduling_policy = static_cast<uint32_t>(task.scheduling().policy);
  if (const RefPtr<RefCounted> object = ControllingTerminal(group)) {
    if (const auto* terminal = dynamic_cast<const vfs::Terminal*>(object.get())) view.tty_device = terminal->terminal_device();
    view.tty_foreground = ForegroundGroupOf(group);
  }
  view.dumpable = group.dumpable.load(std::memory_order_relaxed) != 0;
  return view;
}

}  // namespace rampart::kernel
