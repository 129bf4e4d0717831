// The inside of MemoryManager: its two maps, and the operations on them that its source files share:
//
//   vma_map.cc   vmas: finding gaps, inserting, splitting, merging, removing
//   page_map.cc  pages: runs, platform mappings, deferred release
//   fork.cc      sharing pages with a child
//   fault.cc     bringing pages in, copy-on-write, windows, stack growth
//   mmap.cc, mremap.cc, madvise.cc, mlock.cc   the system calls
//   access.cc, user_io.cc   the kernel's own access
//
// One lock: `mu`. Shared: looking up and copying what is present. Exclusive: every change. Below it: a Mappable's locks, MemoryFile's lock,
// the platform space's lock. Pages are reached through host pointers only under `mu` or while `pins` counts.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/synchronization/mutex.h"
#include "base/safe_math.h"
#include "sentry/mm/memory_manager.h"

namespace rampart::mm {

using platform::Prot;

inline constexpr uint64_t kStackGuardGap = 256 * kPageSize;
inline constexpr uint64_t kMinMapAddress = 64 << 10;  // vm.mmap_min_addr
inline constexpr size_t kMaxMapCount = 65530;         // vm.max_map_count

// What was asked. Its start is the map's key.
struct Vma {
  UserAddr end = 0;
  Prot prot = Prot::kNone;
  Prot max_prot = Prot::kAll;
  bool shared = false;
  bool grows_down = false;
  bool noreserve = false;
  bool locked = false;
  bool lock_on_fault = false;
  bool dont_fork = false;
  bool wipe_on_fork = false;
  bool dont_dump = false;
  bool sealed = false;
  RefPtr<Mappable> file;  // null: private anonymous
  RefPtr<MappingIdentity> identity;
  uint64_t offset = 0;    // in file, of the start
  const char* special_name = nullptr;
  NumaPolicy policy;
  // Not 0: it came by fork with pages of its own, as that one of the parent's areas. Linux keeps such areas apart from new ones and from each other,
  // for their pages are found through two lists (anon_vma_chain).
  uint32_t lineage = 0;

  // Fault-around: where the next sequential fault would be, and how many pages the last window had. Hints: not compared, lost on a split.
  UserAddr next_up = 0;
  UserAddr next_down = 0;
  uint32_t window = 0;

  bool anonymous() const { return !file; }
};

// What backs a run of pages. Its start is the map's key. A run may cross from one vma into the next when both grant the same.
struct Pma {
  UserAddr end = 0;
  Ref<platform::BackingFile> file;
  uint64_t offset = 0;
  std::byte* host = nullptr;   // the Sentry's view of the start; null until asked for (files other than the memory file)
  Prot max_prot = Prot::kAll;  // what the backing allows
  Prot rights = Prot::kNone;   // what the application's mapping allows: vma, backing and copy-on-write taken together
  bool counted = false;        // memory file: this run holds one reference per page
  bool stable = false;         // plain memcpy is safe
  bool owned = false;          // anonymous or a private copy: ours alone once its count is one; else a file's page
  bool cow = false;            // a write must first copy or take over
  bool mapped = false;         // in the platform's space (queued or applied)
  bool readable = false;       // by the Sentry on the application's behalf
  bool host_writable = false;  // host may be written through

  uint64_t changed_at = 0;     // the platform's sequence number of the last change of rights (or a later one); 0 in a child until it maps

  bool MayWrite() const { return !cow && platform::Allows(max_prot, Prot::kWrite); }
};

using VmaMap = std::map<UserAddr, Vma>;
using PmaMap = std::map<UserAddr, Pma>;

// A stretch of host memory that backs application memory.
struct HostSegment {
  std::byte* host;
  size_t length;
  bool stable;
};
using HostSegments = absl::InlinedVector<HostSegment, 8>;

enum class Force : bool { kNo, kYes };  // FOLL_FORCE

struct MemoryManager::Impl {
  Impl(MemoryManager* self, platform::Platform& p, Ref<MemoryFile> mf, Ref<platform::AddressSpace> s)
      : owner(self), platform(p), memory_file(std::move(mf)), space(std::move(s)),
        min_address(std::max(p.capabilities().min_user_address, kMinMapAddress)), max_address(p.capabilities().max_user_address) {}

  MemoryManager* const owner;
  platform::Platform& platform;
  const Ref<MemoryFile> memory_file;
  const Ref<platform::AddressSpace> space;
  const UserAddr min_address;
  const UserAddr max_address;

  mutable absl::Mutex mu;
  VmaMap vmas ABSL_GUARDED_BY(mu);
  PmaMap pmas ABSL_GUARDED_BY(mu);
  UserAddr mmap_base ABSL_GUARDED_BY(mu) = 0;
  UserAddr brk_start ABSL_GUARDED_BY(mu) = 0;
  UserAddr brk ABSL_GUARDED_BY(mu) = 0;
  ImageLayout layout ABSL_GUARDED_BY(mu);
  RefPtr<MappingIdentity> executable ABSL_GUARDED_BY(mu);
  uint64_t stack_limit ABSL_GUARDED_BY(mu) = 8 << 20;
  uint64_t as_limit ABSL_GUARDED_BY(mu) = abi::kRlimInfinity;
  bool lock_future ABSL_GUARDED_BY(mu) = false;
  bool lock_future_on_fault ABSL_GUARDED_BY(mu) = false;
  RefPtr<SpaceCompanion> companion ABSL_GUARDED_BY(mu);
  bool gone ABSL_GUARDED_BY(mu) = false;  // Clear has run

  uint64_t total_bytes ABSL_GUARDED_BY(mu) = 0;   // of vmas
  uint64_t data_bytes ABSL_GUARDED_BY(mu) = 0;    // private writable, not stack
  uint64_t locked_bytes ABSL_GUARDED_BY(mu) = 0;
  uint64_t resident_bytes ABSL_GUARDED_BY(mu) = 0;
  uint64_t peak_total ABSL_GUARDED_BY(mu) = 0;
  uint64_t peak_resident ABSL_GUARDED_BY(mu) = 0;

  // Every gap above gap_hint is shorter than gap_hint_length.
  UserAddr gap_hint ABSL_GUARDED_BY(mu) = 0;
  uint64_t gap_hint_length ABSL_GUARDED_BY(mu) = 0;

  // Backing that is no longer referred to, to be released when the platform has applied `sequence` and nobody pins.
  struct Drop {
    uint64_t sequence;
    Ref<platform::BackingFile> file;
    FileRange range;
    bool counted;
  };
  std::vector<Drop> fresh_drops ABSL_GUARDED_BY(mu);
  std::deque<Drop> deferred_drops ABSL_GUARDED_BY(mu);
  std::atomic<int32_t> pins{0};  // raised under `mu` (shared is enough), lowered anywhere
  // How many copies of pages copy-on-write has made. Raised before it reads the page: who writes to pinned pages sees afterwards whether one
  // may have been copied before the write (fork may come at any moment of it), and writes again to what is there now.
  std::atomic<uint64_t> copies{0};

  // Whether more than one host thread has ever changed this mm or faulted in it: then a fault may be stale.
  uint64_t first_thread ABSL_GUARDED_BY(mu) = 0;
  bool several_threads ABSL_GUARDED_BY(mu) = false;

  // --- vma_map.cc
  // The vma that contains a; or end.
  VmaMap::iterator FindVma(UserAddr a) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // The first vma that ends above a.
  VmaMap::iterator VmaAtOrAfter(UserAddr a) ABSL_SHARED_LOCKS_REQUIRED(mu);
  bool RangeFree(AddrRange r) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Whether vmas cover all of r without holes.
  bool RangeCovered(AddrRange r) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Checks an address range given by the application, page aligned after rounding the length up.
  Result<AddrRange> CheckRange(UserAddr address, uint64_t length, Errno overflow) const;
  Result<UserAddr> FindGap(uint64_t length, UserAddr hint, bool low_32bit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  std::optional<UserAddr> GapBelow(UserAddr low, UserAddr high, uint64_t length) ABSL_SHARED_LOCKS_REQUIRED(mu);
  std::optional<UserAddr> GapAbove(UserAddr low, UserAddr high, uint64_t length) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // REQUIRES: the range is free. Tells the file. ENOMEM: too many.
  Result<VmaMap::iterator> InsertVma(UserAddr start, Vma vma) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Splits so that no vma crosses the edges of r. ENOMEM: too many.
  Result<void> IsolateVmas(AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void SplitVma(VmaMap::iterator v, UserAddr at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Merges what can be merged within and at the edges of r.
  void MergeVmas(AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Removes vmas and pages of r; returns what DropPmas does. REQUIRES: isolated.
  enum class Unmap : bool { kNo, kYes };
  AddrRange RemoveVmas(AddrRange r, Unmap unmap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // mseal: EPERM when part of r is sealed.
  Result<void> CheckUnsealed(AddrRange r) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Bytes of r that vmas cover.
  uint64_t CoveredBytes(AddrRange r) ABSL_SHARED_LOCKS_REQUIRED(mu);
  void Account(const Vma& vma, uint64_t bytes, bool add) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // RLIMIT_AS and RLIMIT_DATA against `more` bytes. ENOMEM.
  Result<void> CheckLimits(const Caller& caller, const Vma& vma, uint64_t more) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // RLIMIT_MEMLOCK. EAGAIN or EPERM when locking `more` bytes is not allowed.
  Result<void> CheckLockLimit(const Caller& caller, uint64_t more, Errno error) ABSL_SHARED_LOCKS_REQUIRED(mu);

  // --- page_map.cc
  PmaMap::iterator FindPma(UserAddr a) ABSL_SHARED_LOCKS_REQUIRED(mu);
  PmaMap::iterator PmaAtOrAfter(UserAddr a) ABSL_SHARED_LOCKS_REQUIRED(mu);
  void SplitPma(PmaMap::iterator p, UserAddr at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void IsolatePmas(AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Returns the run that now contains start.
  PmaMap::iterator InsertPma(UserAddr start, Pma pma) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  PmaMap::iterator MergePma(PmaMap::iterator p) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void MergePmas(AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Forgets the runs in r. With kYes the platform unmaps what was mapped (one operation). Returns what extent was mapped (empty: nothing).
  AddrRange DropPmas(AddrRange r, Unmap unmap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The same for the runs of a private mapping that are its own, or (files_only) for those that are not.
  enum class Which : uint8_t { kOwned, kFiles };
  bool DropSome(AddrRange r, Which which) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void DropBacking(PmaMap::iterator p) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Unmaps in the platform the parts of `stale` (mapped before, runs dropped with kNo) that no run has covered since.
  void UnmapUncovered(AddrRange stale) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // At the end of every change: ties fresh drops to the platform's queue, and releases what can be released.
  void FinishChange() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void SetRights(const Vma& vma, Pma& pma) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Queues the mapping of the part of p in r (split off as needed); returns the run that contains r.start.
  PmaMap::iterator MapRun(PmaMap::iterator p, AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Recomputes rights after the vmas in r or the copy-on-write marks changed; queues as few Protects as possible.
  void ReprotectPmas(const Vma& vma, AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Shows the run to the Sentry. EFAULT when its file cannot.
  Result<void> EnsureHost(Pma& pma, uint64_t length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // --- fork.cc
  // What both sides of a fork will surely write next: they get a copy each at once, and neither faults.
  using HotPages = absl::InlinedVector<AddrRange, 2>;
  // A run of owned pages that the child gets a copy of once nobody writes to it; until then it is marked copy-on-write, whatever it was.
  struct LateCopy {
    AddrRange run;
    bool was_cow;
  };
  // Gives the child the vma's private pages: copy-on-write on both sides, but for the hot ones, which are copied, or put into `late` if not null.
  // Returns whether there were any of its own.
  bool SharePages(VmaMap::iterator v, const HotPages& hot, Impl& child, std::vector<LateCopy>* late) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu, child.mu);
  void CopyLate(const LateCopy& late, Impl& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu, child.mu);
  bool CopyRun(const Vma& vma, PmaMap::iterator p, Impl& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu, child.mu);

  // --- fault.cc
  // Makes `required` present and usable for `access` (one of read, write, exec; rights of the vma have been checked), and more of
  // `optional` (within v, contains required) where that is cheap. Errors: ENOMEM; EIO (the file has no such page).
  Result<void> BringIn(VmaMap::iterator v, AddrRange required, AddrRange optional, Prot access) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<void> FillAnonymous(VmaMap::iterator v, AddrRange required, AddrRange gap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<void> FillFromFile(VmaMap::iterator v, AddrRange required, AddrRange gap, Prot access) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Makes pages of p from required.start on writable, at least one. Returns how far it came.
  Result<UserAddr> BreakCow(VmaMap::iterator v, PmaMap::iterator p, AddrRange required) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  UserAddr TakeOver(VmaMap::iterator v, PmaMap::iterator p, UserAddr at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The window to bring in around a fault in `required`; updates the vma's hints.
  AddrRange Window(VmaMap::iterator v, AddrRange required) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Extends the stack above `a` down to it. EFAULT when it is not one or may not.
  Result<VmaMap::iterator> GrowStack(UserAddr a) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // After mmap, brk: brings in what will surely be touched. Errors are left to the later fault.
  void Prefault(VmaMap::iterator v, AddrRange r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // MAP_POPULATE, mlock: everything that can be.
  Result<void> PopulateRange(AddrRange r, Prot access) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<void> RemovePages(AddrRange range) ABSL_LOCKS_EXCLUDED(mu);
  Result<void> PopulateAsAsked(AddrRange range, Prot access) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void NoteThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<void> ResolveUnknownFault(VmaMap::iterator v, UserAddr address, bool page_was_mapped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // --- mmap.cc
  Result<UserAddr> MMapLocked(const Caller& caller, MMapArgs& args, Vma vma) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<void> ProtectVma(VmaMap::iterator v, Prot prot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // --- mremap.cc
  struct RemapArgs;
  Result<UserAddr> Move(const Caller& caller, const RemapArgs& args) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  Result<UserAddr> MoveEach(const Caller& caller, const RemapArgs& args) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void MovePmas(AddrRange from, UserAddr to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // --- mlock.cc
  // Marks the vmas of r. REQUIRES: covered.
  Result<void> MarkLocked(AddrRange r, bool lock, bool on_fault) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // --- access.cc
  // Collects present pages from `a` on, up to n bytes, that allow read or write. Returns the bytes.
  size_t Collect(UserAddr a, size_t n, bool write, HostSegments& out) ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Brings in what the Sentry is about to access. EFAULT.
  Result<void> BringInForKernel(UserAddr a, size_t n, bool write, Force force) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Calls `act` on segments until n bytes are done or it returns less than a segment (a fault). Returns the bytes.
  size_t Access(UserAddr a, size_t n, bool write, Force force, absl::FunctionRef<size_t(const HostSegment&)> act) ABSL_LOCKS_EXCLUDED(mu);
  // Pins up to n bytes from a on. The caller lowers `pins` if the result is not zero.
  size_t Pin(UserAddr a, size_t n, bool write, HostSegments& out) ABSL_LOCKS_EXCLUDED(mu);
};

inline AddrRange Intersect(AddrRange a, AddrRange b) {
  const AddrRange r{std::max(a.start, b.start), std::min(a.end, b.end)};
  return r.start < r.end ? r : AddrRange{r.start, r.start};
}
inline bool Overlaps(AddrRange a, AddrRange b) { return a.start < b.end && b.start < a.end; }
inline FileRange FileRangeOf(const Vma& vma, UserAddr vma_start, AddrRange r) {
  return FileRange{vma.offset + (r.start - vma_start), vma.offset + (r.end - vma_start)};
}

}  // namespace rampart::mm
