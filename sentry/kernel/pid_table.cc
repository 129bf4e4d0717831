#include "sentry/kernel/pid_table.h"

#include <algorithm>
#include <utility>

namespace rampart::kernel {

// Linux: alloc_pid.
Result<PidName> PidTable::Take(const Ref<PidNamespace>& ns, std::span<const abi::Pid> wanted, bool may_choose) {
  if (wanted.size() > ns->level() + 1) return Errno::kEINVAL;
  std::vector<abi::Pid> numbers(ns->level() + 1);
  const PidNamespace* at = ns.get();
  for (size_t i = 0; i < numbers.size(); ++i, at = at->parent_.get()) {
    if (i < wanted.size()) TRY(CheckWanted(*at, wanted[i], may_choose));
    abi::Pid& number = numbers[at->level()];
    if (at->is_root()) {
      number = i < wanted.size() ? TRY(AllocateExactly(wanted[i])) : TRY(Allocate());
    } else if (i >= wanted.size()) {
      number = TRY(NextIn(*at));
    } else {
      number = wanted[i];
      if (at->sandbox_numbers_.contains(number)) return Errno::kEEXIST;
    }
  }
  if (ns->dying_) return Errno::kENOMEM;
  PidName name{.pid = numbers[0], .numbers = nullptr};
  remembered_.erase(name.pid);
  Reserve(name.pid);
  if (ns->is_root()) return name;
  for (PidNamespace* in = ns.get(); !in->is_root(); in = in->parent_.get()) {
    const abi::Pid number = numbers[in->level()];
    in->sandbox_numbers_[number] = name.pid;
    const size_t chosen = ns->level() - in->level();
    if (chosen >= wanted.size()) in->last_ = number;
  }
  name.numbers = MakeRef<PidNumbers>(ns, std::move(numbers));
  At(name.pid).numbers = name.numbers;
  return name;
}

Result<abi::Pid> PidTable::NextIn(const PidNamespace& ns) {
  abi::Pid candidate = ns.last_;
  for (abi::Pid tries = 0; tries < kMaxPid; ++tries) {
    candidate = candidate + 1 >= kMaxPid ? kReserved : candidate + 1;
    if (!ns.sandbox_numbers_.contains(candidate)) return candidate;
  }
  return Errno::kEAGAIN;
}

Result<void> PidTable::CheckWanted(const PidNamespace& ns, abi::Pid number, bool may_choose) {
  if (number < 1 || number >= kMaxPid) return Errno::kEINVAL;
  if (number != 1 && ns.init_ == nullptr && !ns.is_root()) return Errno::kEINVAL;
  if (!may_choose) return Errno::kEPERM;
  return Ok();
}

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
  if (it == entries_.end() || !it->second.empty()) return;
  const RefPtr<const PidNumbers> numbers = std::move(it->second.numbers);
  entries_.erase(it);
  if (numbers) Forget(pid, numbers);
}

void PidTable::Forget(abi::Pid pid, const RefPtr<const PidNumbers>& numbers) {
  for (PidNamespace* in = numbers->ns().get(); !in->is_root(); in = in->parent_.get()) {
    in->sandbox_numbers_.erase(numbers->numbers()[in->level()]);
    // A first process that was not to be: the next is the first.
    if (in->sandbox_numbers_.empty() && in->init_ == nullptr) in->last_ = 0;
  }
  remembered_[pid] = numbers;
  remembered_order_.emplace_back(pid, numbers.get());
  if (remembered_order_.size() <= kRemembered) return;
  const auto [oldest, which] = remembered_order_.front();
  remembered_order_.pop_front();
  if (const auto it = remembered_.find(oldest); it != remembered_.end() && it->second.get() == which) remembered_.erase(it);
}

abi::Pid PidTable::In(const PidNamespace& ns, abi::Pid pid) const {
  if (ns.is_root()) return pid;
  if (const Entry* entry = Find(pid)) return entry->numbers ? entry->numbers->In(ns) : 0;
  const auto it = remembered_.find(pid);
  return it == remembered_.end() ? 0 : it->second->In(ns);
}

abi::Pid PidTable::Of(const PidNamespace& ns, abi::Pid number) {
  if (ns.is_root()) return number;
  const auto it = ns.sandbox_numbers_.find(number);
  return it == ns.sandbox_numbers_.end() ? 0 : it->second;
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
