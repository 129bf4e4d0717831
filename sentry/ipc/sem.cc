#include "sentry/ipc/sem.h"

#include <algorithm>

namespace rampart::ipc {
namespace {
constexpr int32_t kAdjustMax = abi::kSemValueMax;  // SEMAEM
}  // namespace

// Tries all of the operations; on success they have happened. Values are put back if one cannot.
SemSet::Try SemSet::AttemptLocked(Waiter& waiter, Errno& error) {
  Adjustments* adjustments = nullptr;
  size_t done = 0;
  Try outcome = Try::kDone;
  const auto adjustment = [&](uint16_t num) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> int32_t& {
    if (adjustments == nullptr) adjustments = &undos_[waiter.undo];
    return (*adjustments)[num];
  };
  for (; done < waiter.ops.size(); ++done) {
    const abi::SemBuf& op = waiter.ops[done];
    Semaphore& s = values_[op.num];
    const int32_t result = s.value + op.op;
    if ((op.op == 0 && s.value != 0) || result < 0) {
      waiter.blocking = done;
      outcome = (op.flags & abi::kIpcNowait) != 0 ? Try::kFailed : Try::kBlocked;
      error = Errno::kEAGAIN;
      break;
    }
    if (result > abi::kSemValueMax) {
      outcome = Try::kFailed;
      error = Errno::kERANGE;
      break;
    }
    if ((op.flags & abi::kSemUndo) != 0) {
      int32_t& undo = adjustment(op.num);
      const int32_t changed = undo - op.op;
      if (changed < -kAdjustMax - 1 || changed > kAdjustMax) {
        outcome = Try::kFailed;
        error = Errno::kERANGE;
        break;
      }
      undo = changed;
    }
    s.value = result;
  }
  if (outcome == Try::kDone) {
    for (const abi::SemBuf& op : waiter.ops) values_[op.num].process = waiter.process;
    return outcome;
  }
  while (done > 0) {
    const abi::SemBuf& op = waiter.ops[--done];
    values_[op.num].value -= op.op;
    if ((op.flags & abi::kSemUndo) != 0) adjustment(op.num) += op.op;
  }
  return outcome;
}

// A cheap look at the operation of a waiter that has only one.
bool SemSet::StillBlockedLocked(const Waiter& waiter) const {
  if (waiter.ops.size() != 1) return false;
  const abi::SemBuf& op = waiter.ops.front();
  const int32_t value = values_[op.num].value;
  return op.op == 0 ? value != 0 : value + op.op < 0;
}

void SemSet::FinishLocked(Waiter& waiter, Errno outcome) {
  (waiter.alters ? altering_ : for_zero_).erase(waiter.place);
  waiter.done = true;
  waiter.outcome = outcome;
  waiter.sleeper->Wake();
}

bool SemSet::UpdateQueueLocked(std::list<Waiter*>& queue) {
  bool any = false;
  for (auto it = queue.begin(); it != queue.end();) {
    Waiter& waiter = **it++;
    if (StillBlockedLocked(waiter)) continue;
    Errno error{};
    const Try outcome = AttemptLocked(waiter, error);
    if (outcome == Try::kBlocked) continue;
    FinishLocked(waiter, outcome == Try::kDone ? Errno{} : error);
    if (outcome != Try::kDone) continue;
    any = true;
    if (!waiter.alters) continue;
    // It has changed values: those before it may go on now, and first of all those that wait for zero.
    UpdateQueueLocked(for_zero_);
    it = queue.begin();
  }
  return any;
}

bool SemSet::UpdateLocked() {
  const bool zero = UpdateQueueLocked(for_zero_);
  const bool altered = UpdateQueueLocked(altering_);
  return zero || altered;
}

Result<void> SemSet::SleepOn(Waiter& waiter, Deadline deadline, const Blocker& blocker) {
  while (true) {
    const Result<void> slept = blocker.sleep(deadline);
    absl::MutexLock lock(&mu_);
    if (waiter.done) return waiter.outcome == Errno{} ? Result<void>(Ok()) : waiter.outcome;
    if (slept.ok()) continue;
    (waiter.alters ? altering_ : for_zero_).erase(waiter.place);
    return slept.error() == Errno::kETIMEDOUT ? Errno::kEAGAIN : Errno::kEINTR;  // never restarted
  }
}

Result<void> SemSet::Operate(const auth::Credentials& creds, const SemOperation& operation, const Blocker& blocker) {
  Waiter waiter{.ops = operation.ops, .undo = operation.undo.get(), .process = CurrentProcess(), .sleeper = &blocker.sleeper};
  uint16_t highest = 0;
  for (const abi::SemBuf& op : operation.ops) {
    highest = std::max(highest, op.num);
    waiter.alters |= op.op != 0;
  }
  if (highest >= size()) return Errno::kEFBIG;
  {
    const wait::DeferWakes defer;
    absl::MutexLock lock(&mu_);
    TRY(permissions.Check(creds, waiter.alters ? kWriteRight : kReadRight));
    if (removed_) return Errno::kEIDRM;
    Errno error{};
    switch (AttemptLocked(waiter, error)) {
      case Try::kFailed: return error;
      case Try::kDone:
        otime_ = NowSeconds();
        if (waiter.alters) UpdateLocked();
        return Ok();
      case Try::kBlocked: break;
    }
    std::list<Waiter*>& queue = waiter.alters ? altering_ : for_zero_;
    waiter.place = queue.insert(queue.end(), &waiter);
  }
  return SleepOn(waiter, operation.deadline, blocker);
}

Result<void> SemSet::CheckIndexLocked(int32_t index) const {
  if (index < 0 || static_cast<size_t>(index) >= values_size_) return Errno::kEINVAL;
  return Ok();
}

Result<int32_t> SemSet::Query(const auth::Credentials& creds, int32_t index, Ask what) {
  absl::MutexLock lock(&mu_);
  TRY(permissions.Check(creds, kReadRight));
  if (removed_) return Errno::kEIDRM;
  TRY(CheckIndexLocked(index));
  const Semaphore& s = values_[static_cast<size_t>(index)];
  if (what == Ask::kValue) return s.value;
  if (what == Ask::kProcess) return s.process;
  // As Linux: those whose first operation that cannot proceed is on this semaphore.
  int32_t count = 0;
  for (const std::list<Waiter*>* queue : {&for_zero_, &altering_}) {
    for (const Waiter* waiter : *queue) {
      const abi::SemBuf& op = waiter->ops[waiter->blocking];
      count += op.num == index && (op.op == 0) == (what == Ask::kZeroWaiters) ? 1 : 0;
    }
  }
  return count;
}

Result<std::vector<uint16_t>> SemSet::Values(const auth::Credentials& creds) {
  absl::MutexLock lock(&mu_);
  TRY(permissions.Check(creds, kReadRight));
  if (removed_) return Errno::kEIDRM;
  std::vector<uint16_t> values;
  values.reserve(values_.size());
  for (const Semaphore& s : values_) values.push_back(static_cast<uint16_t>(s.value));
  return values;
}

Result<void> SemSet::SetValue(const auth::Credentials& creds, int32_t index, int32_t value) {
  if (value < 0 || value > abi::kSemValueMax) return Errno::kERANGE;
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  TRY(CheckIndexLocked(index));
  TRY(permissions.Check(creds, kWriteRight));
  if (removed_) return Errno::kEIDRM;
  values_[static_cast<size_t>(index)] = {value, CurrentProcess()};
  for (auto& [list, adjustments] : undos_) adjustments.erase(static_cast<uint16_t>(index));
  ctime_ = NowSeconds();
  if (UpdateLocked()) otime_ = NowSeconds();
  return Ok();
}

Result<void> SemSet::CheckWrite(const auth::Credentials& creds) {
  absl::MutexLock lock(&mu_);
  return permissions.Check(creds, kWriteRight);
}

Result<void> SemSet::SetValues(const auth::Credentials& creds, std::span<const uint16_t> values) {
  if (values.size() != values_size_) return Errno::kEINVAL;
  if (std::any_of(values.begin(), values.end(), [](uint16_t v) { return v > abi::kSemValueMax; })) return Errno::kERANGE;
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  TRY(permissions.Check(creds, kWriteRight));
  if (removed_) return Errno::kEIDRM;
  for (size_t i = 0; i < values.size(); ++i) values_[i] = {values[i], CurrentProcess()};
  for (auto& [list, adjustments] : undos_) adjustments.clear();
  ctime_ = NowSeconds();
  if (UpdateLocked()) otime_ = NowSeconds();
  return Ok();
}

void SemSet::RemoveLocked() {
  removed_ = true;
  undos_.clear();
  while (!for_zero_.empty()) FinishLocked(*for_zero_.front(), Errno::kEIDRM);
  while (!altering_.empty()) FinishLocked(*altering_.front(), Errno::kEIDRM);
}

abi::SemidDs SemSet::DescribeLocked() const {
  abi::SemidDs ds{};
  ds.perm = permissions.ToAbi();
  ds.otime = otime_;
  ds.ctime = ctime_;
  ds.nsems = values_size_;
  return ds;
}

// Linux: exit_sem.
void SemSet::ApplyUndo(const UndoList* list) {
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  const auto it = undos_.find(list);
  if (it == undos_.end()) return;
  for (const auto& [num, change] : it->second) {
    if (change == 0) continue;
    Semaphore& s = values_[num];
    s.value = std::clamp(s.value + change, 0, abi::kSemValueMax);
    s.process = CurrentProcess();
  }
  undos_.erase(it);
  UpdateLocked();
  otime_ = NowSeconds();
}

void UndoList::Touch(const Ref<SemSet>& set) {
  absl::MutexLock lock(&mu_);
  if (!sets_.emplace(set.get(), set).second || sets_.size() < sweep_at_) return;
  for (auto it = sets_.begin(); it != sets_.end();) {
    SemSet& other = *it->first;
    const bool removed = [&other] {
      absl::MutexLock set_lock(&other.mu_);
      return other.removed_;
    }();
    if (removed && &other != set.get()) {
      sets_.erase(it++);
    } else {
      ++it;
    }
  }
  sweep_at_ = std::max<size_t>(16, sets_.size() * 2);
}

void UndoList::OnLastRef() {
  absl::flat_hash_map<SemSet*, Ref<SemSet>> sets;
  {
    absl::MutexLock lock(&mu_);
    sets.swap(sets_);
  }
  for (const auto& [raw, set] : sets) set->ApplyUndo(this);
  delete this;
}

}  // namespace rampart::ipc
