#include <algorithm>
#include <utility>

#include "base/safe_math.h"
#include "platform/testing/fake_platform.h"

namespace rampart::platform::testing {

void FakeAddressSpace::CutLocked(uint64_t start, uint64_t end) {
  auto it = mappings_.upper_bound(start);
  if (it != mappings_.begin()) --it;
  while (it != mappings_.end() && it->first < end) {
    const Mapping old = it->second;
    const uint64_t old_end = old.address + old.length;
    if (old_end <= start) {
      ++it;
      continue;
    }
    mappings_.erase(it);
    if (old.address < start) {
      Mapping left = old;
      left.length = start - old.address;
      mappings_[left.address] = left;
    }
    if (old_end > end) {
      Mapping right = old;
      right.address = end;
      right.length = old_end - end;
      right.offset = old.offset + (end - old.address);
      mappings_[end] = right;
    }
    it = mappings_.lower_bound(start);
  }
}

void FakeAddressSpace::ChangedLocked() {
  ++queued_;
  if (!hold_) applied_ = queued_;
}

void FakeAddressSpace::Map(uint64_t address, uint64_t length, Ref<BackingFile> file, uint64_t offset, Prot prot, Populate populate) {
  CHECK(length > 0 && PageAligned(address) && PageAligned(length) && PageAligned(offset));
  absl::MutexLock lock(&mu_);
  CutLocked(address, address + length);
  mappings_[address] = Mapping{address, length, std::move(file), offset, prot, populate};
  ++map_calls_;
  ChangedLocked();
}

void FakeAddressSpace::Unmap(uint64_t address, uint64_t length) {
  CHECK(length > 0 && PageAligned(address) && PageAligned(length));
  absl::MutexLock lock(&mu_);
  CutLocked(address, address + length);
  ++unmap_calls_;
  ChangedLocked();
}

void FakeAddressSpace::Protect(uint64_t address, uint64_t length, Prot prot) {
  CHECK(length > 0 && PageAligned(address) && PageAligned(length));
  absl::MutexLock lock(&mu_);
  const uint64_t end = address + length;
  std::vector<Mapping> inside;
  for (const auto& [start, mapping] : mappings_) {
    const uint64_t from = std::max(start, address);
    const uint64_t to = std::min(start + mapping.length, end);
    if (from < to) inside.push_back({from, to - from, mapping.file, mapping.offset + (from - start), prot, mapping.populate});
  }
  CutLocked(address, end);
  for (Mapping& mapping : inside) mappings_[mapping.address] = mapping;
  ++protect_calls_;
  protected_bytes_ += end - address;
  ChangedLocked();
}

uint64_t FakeAddressSpace::queued() const {
  absl::MutexLock lock(&mu_);
  return queued_;
}

uint64_t FakeAddressSpace::applied() const {
  absl::MutexLock lock(&mu_);
  return applied_;
}

void FakeAddressSpace::Kick() {
  absl::MutexLock lock(&mu_);
  ++kicks_;
  for (FakeContext* context : inside_) context->Interrupt();
}

std::optional<FakeAddressSpace::Mapping> FakeAddressSpace::Find(uint64_t address) const {
  absl::MutexLock lock(&mu_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return std::nullopt;
  Mapping found = std::prev(it)->second;
  if (address >= found.address + found.length) return std::nullopt;
  const uint64_t page = PageDown(address);
  found.offset += page - found.address;
  found.address = page;
  found.length = kPageSize;
  return found;
}

std::vector<FakeAddressSpace::Mapping> FakeAddressSpace::Mappings() const {
  absl::MutexLock lock(&mu_);
  std::vector<Mapping> all;
  for (const auto& [start, mapping] : mappings_) {
    if (!all.empty()) {
      Mapping& last = all.back();
      if (last.address + last.length == start && last.file == mapping.file && last.offset + last.length == mapping.offset &&
          last.prot == mapping.prot) {
        last.length += mapping.length;
        continue;
      }
    }
    all.push_back(mapping);
  }
  return all;
}

void FakeAddressSpace::HoldChanges(bool hold) {
  absl::MutexLock lock(&mu_);
  hold_ = hold;
  if (!hold) applied_ = queued_;
}

void FakeAddressSpace::ApplyNow() {
  absl::MutexLock lock(&mu_);
  applied_ = queued_;
}

void FakeAddressSpace::FailNextApply(Errno error) {
  absl::MutexLock lock(&mu_);
  fail_next_ = error;
}

Result<void> FakeAddressSpace::Apply() {
  absl::MutexLock lock(&mu_);
  const Errno error = std::exchange(fail_next_, Errno{});
  if (error != Errno{}) return error;
  applied_ = queued_;
  return Ok();
}

size_t FakeAddressSpace::map_calls() const {
  absl::MutexLock lock(&mu_);
  return map_calls_;
}
size_t FakeAddressSpace::unmap_calls() const {
  absl::MutexLock lock(&mu_);
  return unmap_calls_;
}
size_t FakeAddressSpace::protect_calls() const {
  absl::MutexLock lock(&mu_);
  return protect_calls_;
}
uint64_t FakeAddressSpace::protected_bytes() const {
  absl::MutexLock lock(&mu_);
  return protected_bytes_;
}
size_t FakeAddressSpace::kicks() const {
  absl::MutexLock lock(&mu_);
  return kicks_;
}

void FakeAddressSpace::Enter(FakeContext* context) {
  absl::MutexLock lock(&mu_);
  inside_.push_back(context);
}

void FakeAddressSpace::Exit(FakeContext* context) {
  absl::MutexLock lock(&mu_);
  std::erase(inside_, context);
}

}  // namespace rampart::platform::testing
