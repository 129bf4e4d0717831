// IdTable: the objects of one kind by identifier and by key (Linux ipc/util.c: ipc_ids).
//
// An identifier is a slot (the low 15 bits) and a sequence number, so that one that was removed is not soon another's. Slots go round as in Linux
// (ipc_idr_alloc): the sequence number grows when the slots begin again.
// Thread safety: none; the registry that owns it locks. T has `permissions` with key, id, seq, and is counted.
#pragma once

#include <algorithm>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "sentry/ipc/object.h"

namespace rampart::ipc {

inline constexpr int32_t kMaxIds = 32768;  // IPCMNI

template <class T>
class IdTable {
 public:
  static int32_t SlotOf(int32_t id) { return id & (kMaxIds - 1); }

  // Gives `object` its id and takes it in. ENOSPC: `limit` objects are there (or kMaxIds). Its key is new.
  Result<int32_t> Add(Ref<T> object, int32_t limit) {
    const auto count = static_cast<int32_t>(slots_.size());
    if (count >= std::min(limit, kMaxIds)) return Errno::kENOSPC;
    const int32_t slot = FreeSlot(std::min(std::max(count * 3 / 2, kCycle), kMaxIds));
    if (slot <= last_slot_) sequence_ = static_cast<uint16_t>(sequence_ + 1 == kSequences ? 0 : sequence_ + 1);
    last_slot_ = slot;
    Permissions& p = object->permissions;
    p.seq = sequence_;
    p.id = (int32_t{sequence_} << kSlotBits) + slot;
    if (p.key != abi::kIpcPrivate) keys_.emplace(p.key, slot);
    const int32_t id = p.id;
    slots_.emplace(slot, std::move(object));
    return id;
  }
  // Null: none.
  T* FindKey(int32_t key) const {
    if (key == abi::kIpcPrivate) return nullptr;
    const auto it = keys_.find(key);
    return it == keys_.end() ? nullptr : slots_.at(it->second).get();
  }
  // EINVAL: no object has this id. (A negative one names none.)
  Result<Ref<T>> Get(int32_t id) const {
    const Ref<T> found = TRY(AtSlot(id));
    if (found->permissions.id != id) return Errno::kEINVAL;
    return found;
  }
  // The *_STAT commands: the object in the slot of `id`, whatever its sequence number.
  Result<Ref<T>> AtSlot(int32_t id) const {
    if (id < 0) return Errno::kEINVAL;
    const auto it = slots_.find(SlotOf(id));
    if (it == slots_.end()) return Errno::kEINVAL;
    return it->second;
  }
  bool Contains(const T& object) const {
    const auto it = slots_.find(SlotOf(object.permissions.id));
    return it != slots_.end() && it->second.get() == &object;
  }
  // Forgets the key: nobody finds it by that any more.
  void MakePrivate(T& object) {
    if (object.permissions.key != abi::kIpcPrivate) keys_.erase(object.permissions.key);
    object.permissions.key = abi::kIpcPrivate;
  }
  // REQUIRES: Contains.
  void Remove(T& object) {
    keys_.erase(object.permissions.key);
    slots_.erase(SlotOf(object.permissions.id));
  }

  int32_t size() const { return static_cast<int32_t>(slots_.size()); }
  // What …_INFO returns: the highest slot in use; 0 if there is none.
  int32_t MaxSlot() const { return slots_.empty() ? 0 : slots_.rbegin()->first; }
  auto begin() const { return slots_.begin(); }
  auto end() const { return slots_.end(); }

 private:
  static constexpr int32_t kSlotBits = 15, kCycle = 64, kSequences = INT32_MAX >> kSlotBits;

  int32_t FreeSlot(int32_t end) const {
    const auto free_from = [this](int32_t from) {
      for (auto it = slots_.lower_bound(from); it != slots_.end() && it->first == from; ++it) ++from;
      return from;
    };
    const int32_t slot = free_from(last_slot_ + 1 < end ? last_slot_ + 1 : 0);
    return slot < end ? slot : free_from(0);  // there is one: fewer are in use than `end`
  }

  absl::btree_map<int32_t, Ref<T>> slots_;
  absl::flat_hash_map<int32_t, int32_t> keys_;
  uint16_t sequence_ = 0;
  int32_t last_slot_ = -1;
};

}  // namespace rampart::ipc
