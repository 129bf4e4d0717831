// MemoryManager: one address space of the application (Linux's mm_struct): what was asked (vmas) and what backs it (pages), kept in step with
// a platform::AddressSpace.
//
// Model. vmas are an ordered map of ranges; pages an ordered map of runs {user range → BackingFile range, mapped rights, shared or to be
// copied}. Changes go to the platform as queued batches that take effect at the next Switch; pages that were unmapped are released only
// when the platform says the batch is applied. fork shares pages copy-on-write. Faults bring in windows, growing with sequential use.
// Thread safety: any thread. Lock order: the mm's one lock (vmas, pages, platform space) → Mappable's → MemoryFile's.
// Ownership: counted by the tasks that share it (CLONE_VM) and by whoever looks from outside (/proc, process_vm_readv).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/ref.h"
#include "base/result.h"
#include "platform/platform.h"
#include "sentry/context/caller.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/numa.h"
#include "sentry/mm/user_memory.h"

namespace rampart::mm {

struct AddrRange {
  UserAddr start = 0;
  UserAddr end = 0;
  uint64_t length() const { return end - start; }
  bool Contains(UserAddr a) const { return a >= start && a < end; }
};

// mmap(2)'s flags, decoded.
struct MMapArgs {
  UserAddr address = 0;
  uint64_t length = 0;                        // rounded up to pages; 0 is EINVAL
  platform::Prot prot = platform::Prot::kNone;
  platform::Prot max_prot = platform::Prot::kAll;  // what mprotect may later allow (from the file's open mode)
  bool shared = false;
  bool fixed = false;                          // MAP_FIXED
  bool fixed_noreplace = false;                // MAP_FIXED_NOREPLACE
  bool grows_down = false;                     // MAP_GROWSDOWN
  bool locked = false;                         // MAP_LOCKED
  bool populate = false;                       // MAP_POPULATE
  bool noreserve = false;
  bool stack = false;                          // MAP_STACK (hint)
  bool low_32bit = false;                      // MAP_32BIT
  RefPtr<Mappable> file;                       // null: anonymous
  RefPtr<MappingIdentity> identity;
  uint64_t offset = 0;                         // in file, page aligned
  const char* special_name = nullptr;          // "[vdso]", "[heap]", "[stack]": static storage
};

// One line of /proc/PID/maps and of smaps.
struct VmaInfo {
  AddrRange range;
  platform::Prot prot;
  bool shared;
  bool grows_down;
  uint64_t offset;
  uint64_t device, inode;
  std::string name;      // path, "[heap]", … or empty
  uint64_t rss_bytes;    // mapped pages
  uint64_t anon_bytes;   // of them private copies and anonymous
  uint64_t locked_bytes;
  NumaPolicy policy;
  bool secret;           // memfd_secret
  bool dont_dump;        // MADV_DONTDUMP
};

// What a layer above keeps for an address space until nobody runs in it any more: asynchronous I/O contexts.
class SpaceCompanion : public RefCounted {
 public:
  // The last thread has left the space (exit, exec). Called once, without locks.
  virtual void SpaceGone() = 0;
};

struct MemoryStats {
  uint64_t virtual_bytes, resident_bytes, anon_bytes, shared_bytes, data_bytes, stack_bytes, exec_bytes, locked_bytes;
  uint64_t peak_virtual_bytes, peak_resident_bytes;
};

// Where exec put things, for /proc and prctl(PR_SET_MM).
struct ImageLayout {
  UserAddr start_code = 0, end_code = 0, start_data = 0, end_data = 0, start_brk = 0, start_stack = 0;
  UserAddr arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  UserAddr vdso = 0;
  std::vector<uint64_t> auxv;   // pairs, with AT_NULL
};

// A key that identifies a futex word: private to an mm, or the same for all who map the page.
struct FutexKey {
  const void* object = nullptr;   // MemoryManager (private), BackingFile or Mappable (shared)
  uint64_t offset = 0;
  RefPtr<RefCounted> hold;        // keeps a shared object alive
  bool operator==(const FutexKey& o) const { return object == o.object && offset == o.offset; }
};

inline constexpr uint32_t kRefuseExecGain = 1, kNotInherited = 2;  // PR_MDWE_REFUSE_EXEC_GAIN, PR_MDWE_NO_INHERIT

class MemoryManager final : public RefCounted, public UserMemory, public MappingSpace {
 public:
  // An empty address space.
  static Result<Ref<MemoryManager>> Create(platform::Platform& platform, Ref<MemoryFile> memory_file);
  // Who may write to the memory while it is forked: the calling task alone, or others that run in it.
  enum class Writers : bool { kCaller, kOthers };
  // fork: a copy of this one, sharing pages copy-on-write; of each other thread's writes it has a prefix. `context`: the calling task's; through it the loss of write permission is
  // applied before anybody can copy a page or the child can run, so that no write of another thread goes astray. Null only where no other thread
  // runs in this space; then the caller must Commit before the child runs. Errors: ENOMEM, and Commit's.
  Result<Ref<MemoryManager>> Fork(platform::Context* context = nullptr, Writers writers = Writers::kCaller);

  platform::AddressSpace& space();

  // The calls of mmap(2), munmap(2), mprotect(2), mremap(2), brk(2), madvise(2), msync(2), mincore(2), mlock(2) with their errors.
  Result<UserAddr> MMap(const Caller& caller, MMapArgs args);
  Result<void> MUnmap(UserAddr address, uint64_t length);
  // shmdt(2): unmaps the areas that an attachment of a System V segment at `address` has left. EINVAL: there are none.
  Result<void> DetachSegment(UserAddr address);
  Result<void> MProtect(UserAddr address, uint64_t length, platform::Prot prot, bool grows_down);
  Result<UserAddr> MRemap(const Caller& caller, UserAddr old_address, uint64_t old_length, uint64_t new_length, uint32_t flags,
                          UserAddr new_address);
  UserAddr Brk(const Caller& caller, UserAddr want);  // returns the break, unchanged on failure, as the system call does
  Result<void> MAdvise(UserAddr address, uint64_t length, int advice);
  Result<void> MSync(UserAddr address, uint64_t length, uint32_t flags);
  Result<void> MIncore(UserAddr address, uint64_t length, std::vector<uint8_t>& residency);
  Result<void> MLock(const Caller& caller, UserAddr address, uint64_t length, bool lock, bool on_fault);
  Result<void> MLockAll(const Caller& caller, uint32_t flags);
  void MUnlockAll();

  // A page fault of the application. `access` kNone: unknown (then `page_was_mapped` says whether it can only have been a write or exec).
  // ok: retry the instruction. Errors: EFAULT → SIGSEGV (SEGV_MAPERR), EACCES → SIGSEGV (SEGV_ACCERR), EIO → SIGBUS, ENOMEM → kill.
  // `rsp` decides stack growth as Linux does.
  Result<void> HandleFault(UserAddr address, platform::Prot access, bool page_was_mapped, UserAddr rsp);

  // mseal(2). Errors: EINVAL, ENOMEM (a hole). Sealed areas refuse munmap, mremap, mprotect, MAP_FIXED over them, and advice that discards
  // what the application may not write, with EPERM.
  Result<void> MSeal(UserAddr address, uint64_t length);

  // remap_file_pages(2), as Linux has it since 4.0: a mapping of its own of another part of the same shared file. EINVAL.
  Result<void> RemapFilePages(const Caller& caller, UserAddr start, uint64_t length, uint64_t first_page, bool populate);
  // process_mrelease(2): gives back the private memory of a process that is being killed.
  void GiveUpMemory();

  // mbind(2), and what get_mempolicy(2) and numa_maps show. EFAULT: a hole. (numa.cc)
  Result<void> SetPolicy(UserAddr address, uint64_t length, const NumaPolicy& policy);
  Result<void> SetHomeNode(UserAddr address, uint64_t length, int node);
  Result<NumaPolicy> PolicyAt(UserAddr address) const;
  // move_pages(2): whether the page is there. EFAULT: no area; ENOENT: not there.
  Result<void> PageIsPresent(UserAddr address) const;
  // Whether memory of memfd_secret(2) lies in the range: other processes do not see it.
  bool HasSecrets(AddrRange range) const;

  // /proc/PID/pagemap: an entry for each page from `start` on (aligned; holes are 0), without frame numbers.
  void PageMap(UserAddr start, std::span<uint64_t> entries) const;

  // prctl(PR_SET_MDWE): kRefuseExecGain, kNotInherited. Inherited by fork and exec.
  std::atomic<uint32_t> exec_gain{0};
  // What a child or the next program has of it.
  uint32_t inherited_exec_gain() const {
    const uint32_t bits = exec_gain.load(std::memory_order_relaxed);
    return (bits & kNotInherited) != 0 ? 0 : bits;
  }
  // What membarrier(2) was told for this space; inherited by fork, gone with exec.
  std::atomic<uint32_t> barrier_registrations{0};
  // The one companion, made on first use. Null: none, or (Ensure…) the space is gone already.
  RefPtr<SpaceCompanion> companion() const;
  RefPtr<SpaceCompanion> EnsureCompanion(absl::FunctionRef<Ref<SpaceCompanion>()> make);

  // UserMemory: for threads of this process. Writers from outside use CopyOutFromOutside.
  Result<size_t> CopyInPartial(UserAddr from, std::span<std::byte> bytes) override;
  Result<size_t> CopyOutPartial(UserAddr to, std::span<const std::byte> bytes) override;
  Result<uint32_t> Atomic32(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected) override;
  Result<uint32_t> Atomic32NoFault(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected) override;

  // process_vm_writev(2): as CopyOutPartial, for a thread of another process: whoever runs inside sees pages that the write has replaced.
  Result<size_t> CopyOutFromOutside(UserAddr to, std::span<const std::byte> bytes);
  // ptrace and /proc/PID/mem: as CopyIn/Out, ignoring the mapping's own rights (FOLL_FORCE): writes to private read-only pages copy.
  Result<size_t> ForceCopyIn(UserAddr from, std::span<std::byte> bytes);
  Result<size_t> ForceCopyOut(UserAddr to, std::span<const std::byte> bytes);

  // Application memory as a destination or source of file I/O. Ranges are checked lazily (EFAULT); total at most abi::kMaxRwCount.
  std::unique_ptr<IoDst> NewDst(std::vector<AddrRange> ranges);
  std::unique_ptr<IoSrc> NewSrc(std::vector<AddrRange> ranges);

  // futex(2): the key of a 4-byte word. `process_private` is FUTEX_PRIVATE_FLAG. EFAULT, EINVAL (unaligned).
  Result<FutexKey> GetFutexKey(UserAddr address, bool process_private);

  // MappingSpace.
  void Invalidate(Mappable& file, FileRange range, bool private_too) override;
  RefPtr<RefCounted> TryHold() override { return TryRef<RefCounted>(this); }

  // Introspection.
  std::vector<VmaInfo> Vmas() const;
  std::optional<VmaInfo> FindVma(UserAddr address) const;   // the one that contains address
  MemoryStats stats() const;
  // Whether somebody outside can tell that the space is still there: a file mapped shared (seals, leases, a segment's attachments), or one that is not
  // on `device` (umount's EBUSY).
  bool SeenFromOutside(uint64_t device) const;
  ImageLayout layout() const;
  void SetLayout(ImageLayout layout);
  // exec: where the heap begins. Layout randomisation is the loader's.
  void SetBrkStart(UserAddr start);
  // A free range for mmap without hint lies below this (from the stack's limit and randomisation).
  void SetMmapBase(UserAddr base);
  // RLIMIT_STACK and RLIMIT_AS as far as stack growth by a fault needs them: set by exec, inherited by fork; prlimit(2) tells changes.
  void SetGrowthLimits(uint64_t stack, uint64_t address_space);
  RefPtr<MappingIdentity> executable() const;   // /proc/PID/exe's identity
  void SetExecutable(RefPtr<MappingIdentity> identity);

  // Everything released: no thread will ever run in this space again, though observers may still hold references.
  void Clear();

  ~MemoryManager() override;

  struct Impl;

 private:
  MemoryManager(platform::Platform& platform, Ref<MemoryFile> memory_file, Ref<platform::AddressSpace> space);
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rampart::mm
