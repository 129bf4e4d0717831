#include "sentry/kernel/pid_table.h"

#include <algorithm>

namespace rampart::kernel {

Result<abi::Pid> PidTable::Allocate() {
  abi::Pid candidate = last_;
  for (abi::Pid tries = 0; tries < kMaxPid; ++tries) {
    candidate = candidate + 1 >= kMaxPid ? kReserved : candidate + 1;
    if (entries_.contains(candidate)) continue;
    last_ = candidate;
    return candidate;
  }
  return Errno::kEAGAIN;
}

Result<abi::Pid> PidTable::AllocateExactly(abi::Pid pid) {
  if (pid < 1 || pid >= kMaxPid) return Errno::kEINVAL;
  if (entries_.contains(pid)) return Errno::kEEXIST;
  return pid;
}

PidTable::Entry* PidTable::Find(abi::Pid pid) {
  const auto it = entries_.find(pid);
  return it == entries_.end() ? nullptr : &it->second;
}

const PidTable::Entry* PidTable::Find(abi::Pid pid) const {
  const auto it = entries_.find(pid);
  return it == entries_.end() ? nullptr : &it->second;
}

void PidTable::EraseIfEmpty(abi::Pid pid) {
  const auto it = entries_.find(pid);
  if (it != entries_.end() && it->second.empty()) entries_.erase(it);
}

void PidTable::Unreserve(abi::Pid pid) {
  if (Entry* entry = Find(pid)) entry->reserved = false;
  EraseIfEmpty(pid);
}

void PidTable::AddTask(Ref<Task> task) {
  const abi::Pid tid = task->tid();
  Entry& entry = At(tid);
  entry.task = std::move(task);
  entry.reserved = false;
  ++tasks_;
}

void PidTable::RemoveTask(Task& task, abi::Pid tid) {
  Entry* entry = Find(tid);
  if (entry == nullptr || entry->task.get() != &task) return;
  entry->task = nullptr;
  --tasks_;
  EraseIfEmpty(tid);
}

std::vector<Ref<ThreadGroup>> PidTable::Groups() const {
  std::vector<Ref<ThreadGroup>> groups;
  for (const auto& [pid, entry] : entries_) {
    if (entry.group) groups.push_back(entry.group.ToRef());
  }
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a->pid() < b->pid(); });
  return groups;
}

}  // namespace rampart::kernel
