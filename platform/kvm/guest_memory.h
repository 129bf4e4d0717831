// GuestMemory: files as guest-physical memory. A Chunk is an aligned piece of a BackingFile's window in one memory slot; spaces acquire the chunk of
// each place that their code touches. Chunks without users are kept for a while (making and removing a slot is dear for everybody), with a
// reference to their file.
//
// Where files refuse a window of the wanted size (it must lie within a small file), smaller ones are tried, down to a page.
// Thread safety: any thread. Lock: mu_; the slot calls and BackingFile::Window run under it. Files are released outside it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "platform/backing_file.h"

namespace rampart::platform::kvm {

struct Chunk {
  RefPtr<BackingFile> file;
  uint64_t offset = 0, length = 0;  // in the file
  uint64_t guest = 0;               // guest-physical address of `offset`
  uint32_t slot = 0;
  uint32_t users = 0;   // guarded by GuestMemory
  int size_class = 0;
  bool writable = false;
  std::list<Chunk*>::iterator idle{};  // while users is 0
};

class GuestMemory {
 public:
  // Makes or (length 0) removes a slot. Errors: the host's.
  using SetSlot = std::function<Result<void>(uint32_t slot, uint64_t guest, std::byte* host, uint64_t length, bool writable)>;
  // Guest-physical addresses in [begin, end), slots in [first_slot, last_slot).
  GuestMemory(SetSlot set_slot, uint64_t begin, uint64_t end, uint32_t first_slot, uint32_t last_slot);
  ~GuestMemory();

  // The chunk with `offset` of `file`, writable if `write`; one more user. Errors: those of Window; ENOMEM (slots or addresses are all in use).
  Result<Chunk*> Acquire(const RefPtr<BackingFile>& file, uint64_t offset, bool write);
  // One more user of a chunk that the caller uses already.
  void AddUser(Chunk* chunk);
  // One user less. Not under a lock that releasing a file may take.
  void Release(Chunk* chunk);
  // A slot of the caller's own.
  Result<uint32_t> TakeSlot();
  // Removes the chunks that nobody uses.
  void Trim();

  struct Counts {
    size_t used, idle, slots;
  };
  Counts counts() const;

 private:
  using Key = std::pair<const BackingFile*, uint64_t>;  // file, offset | writable | size class
  static Key KeyOf(const BackingFile* file, uint64_t offset, int size_class, bool writable);
  Result<Chunk*> Make(const RefPtr<BackingFile>& file, uint64_t offset, int size_class, bool write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Use(Chunk* chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<uint32_t> TakeSlotLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<uint64_t> TakeAddress(int size_class) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Removes the `count` oldest idle chunks; their files' references go to `files`.
  void Drop(size_t count, std::vector<RefPtr<BackingFile>>& files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const SetSlot set_slot_;
  const uint64_t end_;
  const uint32_t last_slot_;
  mutable absl::Mutex mu_;
  uint64_t next_address_ ABSL_GUARDED_BY(mu_);
  uint32_t next_slot_ ABSL_GUARDED_BY(mu_);
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mu_);
  std::vector<std::vector<uint64_t>> free_addresses_ ABSL_GUARDED_BY(mu_);  // by size class
  absl::flat_hash_map<Key, std::unique_ptr<Chunk>> chunks_ ABSL_GUARDED_BY(mu_);
  std::list<Chunk*> idle_ ABSL_GUARDED_BY(mu_);  // oldest first
};

}  // namespace rampart::platform::kvm
