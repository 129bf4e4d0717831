// Regular files of a tmpfs. Internal to sentry/fs/tmpfs.
//
// Locks: io_mu_ (one change of size or range at a time; held across IoSrc::Drain) → mm's → mu_ (pages and size; taken inside callbacks).
#pragma once

#include <atomic>
#include <span>

#include "sentry/fs/tmpfs/page_store.h"
#include "sentry/fs/tmpfs/tmpfs_inode.h"
#include "sentry/mm/punchable.h"
#include "sentry/vfs/file_support.h"

namespace rampart::fs {

class TmpfsFile final : public TmpfsInode, public mm::Mappable, public mm::Punchable {
 public:
  TmpfsFile(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args);
  ~TmpfsFile() override;

  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;

  Result<size_t> ReadAt(mm::IoDst& dst, uint64_t offset);
  // `append`: at the end, whatever `offset` says. *end: where the write ended.
  Result<size_t> WriteAt(mm::IoSrc& src, uint64_t offset, bool append, uint64_t& end);
  Result<uint64_t> SeekData(uint64_t offset, bool data);
  Result<void> Allocate(uint32_t mode, uint64_t offset, uint64_t length);
  uint64_t size() const { return size_.load(std::memory_order_acquire); }

  // memfd seals. EPERM: sealed against sealing; EBUSY: mapped for writing.
  Result<void> AddSeals(uint32_t seals);
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  uint32_t seals() const { return seals_.load(std::memory_order_acquire); }
  void InitSeals(uint32_t seals) { seals_.store(seals, std::memory_order_release); }

  std::optional<uint64_t> PagesInMemory(uint64_t first, uint64_t last) override;
  // memfd_secret(2); before it is shared.
  void MarkSecret() { secret_ = true; }

  // Mappable.
  bool Secret() const override { return secret_; }
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool write) override;
  Result<void> AddMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) override;
  void RemoveMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) override;
  Result<void> Msync(mm::FileRange) override { return Ok(); }
  Result<void> PunchPages(mm::FileRange range) override {
    absl::MutexLock lock(&io_mu_);
    return PunchHole(range.start, range.length());
  }

 protected:
  void FillAttr(vfs::Attr& attr) override;
  Result<void> Resize(uint64_t size) override;

 private:
  size_t CopyOutLocked(uint64_t offset, std::span<const iovec> segments, size_t limit) ABSL_SHARED_LOCKS_REQUIRED(mu_);
  Result<size_t> CopyInLocked(uint64_t offset, std::span<const iovec> segments) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Backs up to `pages` absent pages from `page` on with fresh zeroed memory, and returns how many. ENOSPC, ENOMEM.
  Result<uint64_t> FillLocked(uint64_t page, uint64_t pages, mm::MemoryFile::Commit commit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ZeroLocked(uint64_t start, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> PunchHole(uint64_t offset, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(io_mu_);
  void Release(const std::vector<mm::FileRange>& ranges);
  Result<uint64_t> CheckWriteSeals(uint64_t offset, uint64_t length) const;

  absl::Mutex io_mu_;
  absl::Mutex mu_ ABSL_ACQUIRED_AFTER(io_mu_);
  PageStore pages_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint64_t> size_{0};    // written under mu_
  std::atomic<uint64_t> blocks_{0};  // pages present, for GetAttr
  std::atomic<uint32_t> seals_{kSealSeal};
  vfs::MappingList mappings_;
  bool secret_ = false;
};

}  // namespace rampart::fs
