#include "sentry/kernel/pid_namespace.h"

#include <atomic>

namespace rampart::kernel {

PidNamespace::PidNamespace(RefPtr<PidNamespace> parent)
    : id_([] {
        static std::atomic<uint64_t> next{1};
        return next.fetch_add(1, std::memory_order_relaxed);
      }()),
      level_(parent ? parent->level_ + 1 : 0),
      parent_(std::move(parent)) {}

bool PidNamespace::Contains(const PidNamespace& other) const {
  const PidNamespace* at = &other;
  while (at->level_ > level_) at = at->parent_.get();
  return at == this;
}

abi::Pid PidNumbers::In(const PidNamespace& ns) const { return ns.Contains(*ns_) ? numbers_[ns.level()] : 0; }

std::vector<abi::Pid> PidName::From(const PidNamespace& ns) const {
  if (In(ns) == 0) return {0};
  if (!numbers) return {pid};
  return {numbers->numbers().begin() + ns.level(), numbers->numbers().end()};
}

}  // namespace rampart::kernel
