#include "platform/kvm/guest_memory.h"

#include "base/safe_math.h"

namespace rampart::platform::kvm {
namespace {

// Sizes of chunks: 4 KiB << 2 * class.
constexpr int kClasses = 8;
constexpr int kStableClass = 7;  // 64 MiB: the memory file grows by as much
constexpr int kFileClass = 6;    // 16 MiB: most files have one chunk
constexpr size_t kMaxIdle = 256;

constexpr uint64_t SizeOf(int size_class) { return kPageSize << (2 * size_class); }

}  // namespace

GuestMemory::GuestMemory(SetSlot set_slot, uint64_t begin, uint64_t end, uint32_t first_slot, uint32_t last_slot)
    : set_slot_(std::move(set_slot)), end_(end), last_slot_(last_slot), next_address_(begin), next_slot_(first_slot), free_addresses_(kClasses) {}

GuestMemory::~GuestMemory() {
  Trim();
  absl::MutexLock lock(&mu_);
  CHECK(chunks_.empty());
}

GuestMemory::Key GuestMemory::KeyOf(const BackingFile* file, uint64_t offset, int size_class, bool writable) {
  return {file, offset | static_cast<uint64_t>(size_class) << 1 | (writable ? 1 : 0)};
}

void GuestMemory::Use(Chunk* chunk) {
  if (chunk->users++ == 0) idle_.erase(chunk->idle);
}

Result<Chunk*> GuestMemory::Acquire(const RefPtr<BackingFile>& file, uint64_t offset, bool write) {
  std::vector<RefPtr<BackingFile>> dropped;
  const bool stable = file->stable();
  Errno error = Errno::kEINVAL;
  absl::MutexLock lock(&mu_);
  for (int c = stable ? kStableClass : kFileClass; c >= 0; --c) {
    const uint64_t start = offset & ~(SizeOf(c) - 1);
    const auto found = chunks_.find(KeyOf(file.get(), start, c, write));
    if (found != chunks_.end()) {
      Use(found->second.get());
      return found->second.get();
    }
    Result<Chunk*> made = Make(file, start, c, write);
    if (made.ok()) return made;
    error = made.error();
    if (error == Errno::kENOMEM && !idle_.empty()) {
      Drop(idle_.size(), dropped);
      ++c;
    } else if (error != Errno::kEINVAL) {
      break;
    }
  }
  return error;
}

Result<Chunk*> GuestMemory::Make(const RefPtr<BackingFile>& file, uint64_t offset, int size_class, bool write) {
  const uint64_t length = SizeOf(size_class);
  const std::span<std::byte> window = TRY(file->Window(offset, length, write));
  const uint32_t slot = TRY(TakeSlotLocked());
  const Result<uint64_t> address = TakeAddress(size_class);
  Result<void> set = address.ok() ? set_slot_(slot, *address, window.data(), length, write) : address.error();
  if (!set.ok()) {
    free_slots_.push_back(slot);
    if (address.ok()) free_addresses_[static_cast<size_t>(size_class)].push_back(*address);
    return Errno::kENOMEM;
  }
  auto chunk = std::make_unique<Chunk>(
      Chunk{.file = file, .offset = offset, .length = length, .guest = *address, .slot = slot, .users = 1, .size_class = size_class, .writable = write});
  Chunk* const made = chunk.get();
  chunks_.emplace(KeyOf(file.get(), offset, size_class, write), std::move(chunk));
  return made;
}

void GuestMemory::AddUser(Chunk* chunk) {
  absl::MutexLock lock(&mu_);
  CHECK(chunk->users > 0);
  ++chunk->users;
}

void GuestMemory::Release(Chunk* chunk) {
  std::vector<RefPtr<BackingFile>> dropped;  // released after the lock
  absl::MutexLock lock(&mu_);
  CHECK(chunk->users > 0);
  if (--chunk->users != 0) return;
  chunk->idle = idle_.insert(idle_.end(), chunk);
  if (idle_.size() > kMaxIdle) Drop(kMaxIdle / 2, dropped);
}

void GuestMemory::Drop(size_t count, std::vector<RefPtr<BackingFile>>& files) {
  for (; count > 0 && !idle_.empty(); --count) {
    Chunk* const chunk = idle_.front();
    idle_.pop_front();
    // A slot that cannot be removed would go on showing what the Sentry maps there next.
    CHECK(set_slot_(chunk->slot, chunk->guest, nullptr, 0, chunk->writable).ok());
    free_slots_.push_back(chunk->slot);
    free_addresses_[static_cast<size_t>(chunk->size_class)].push_back(chunk->guest);
    files.push_back(std::move(chunk->file));
    chunks_.erase(KeyOf(files.back().get(), chunk->offset, chunk->size_class, chunk->writable));
  }
}

void GuestMemory::Trim() {
  std::vector<RefPtr<BackingFile>> dropped;
  absl::MutexLock lock(&mu_);
  Drop(idle_.size(), dropped);
}

Result<uint32_t> GuestMemory::TakeSlot() {
  absl::MutexLock lock(&mu_);
  return TakeSlotLocked();
}

Result<uint32_t> GuestMemory::TakeSlotLocked() {
  if (!free_slots_.empty()) {
    const uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  if (next_slot_ == last_slot_) return Errno::kENOMEM;
  return next_slot_++;
}

Result<uint64_t> GuestMemory::TakeAddress(int size_class) {
  std::vector<uint64_t>& free = free_addresses_[static_cast<size_t>(size_class)];
  if (!free.empty()) {
    const uint64_t address = free.back();
    free.pop_back();
    return address;
  }
  const uint64_t size = SizeOf(size_class);
  const uint64_t address = (next_address_ + size - 1) & ~(size - 1);
  if (address > end_ || end_ - address < size) return Errno::kENOMEM;
  next_address_ = address + size;
  return address;
}

GuestMemory::Counts GuestMemory::counts() const {
  absl::MutexLock lock(&mu_);
  return {chunks_.size() - idle_.size(), idle_.size(), next_slot_ - free_slots_.size()};
}

}  // namespace rampart::platform::kvm
