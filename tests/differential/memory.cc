// The program's area of memory: mappings, protections, loads and stores.
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "tests/differential/operations.h"

namespace differential {
namespace {

constexpr size_t kPage = World::kPage;

int Protection(Rng& r) {
  return r.Pick({PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC, PROT_WRITE, PROT_EXEC});
}

void Map(World& w, Rng& r) {
  const size_t page = r.Below(40), count = 1 + r.Below(6);
  const int protection = Protection(r);
  int flags = r.OneIn(2) ? MAP_SHARED : MAP_PRIVATE;
  int fd = -1;
  long offset = 0;
  if (r.OneIn(3)) {
    flags |= MAP_ANONYMOUS;
  } else {
    fd = w.Fd(r, kFile);
    if (fd >= 0 && (w.KindOf(fd) & (kFile | kDirectory)) == 0) return;  // whether anonymous files are on a noexec mount changed in Linux 6.17
    offset = static_cast<long>(r.Below(4) * kPage) + (r.OneIn(40) ? 100 : 0);
  }
  // A write to a private page of a file copies its neighbours inside as well, which later writes to the file show (tests/expectations/filedata_test.inside).
  const bool alone = (flags & MAP_PRIVATE) != 0 && fd >= 0;
  flags |= r.Pick({MAP_FIXED, MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE});
  if (alone) flags |= MAP_NORESERVE;  // nothing ahead of the first touch
  if (!alone && r.OneIn(8)) flags |= MAP_POPULATE;
  if (r.OneIn(8)) flags |= MAP_NORESERVE;
  const size_t length = r.OneIn(40) ? 0 : (alone ? 1 : count) * kPage - (r.OneIn(8) ? 100 : 0);
  void* at = mmap(w.Area(page), length, protection, flags, fd, offset);
  w.Say(at == MAP_FAILED ? -1 : 0, "mmap(@%zu, %zu, %d, %#x, %d, %ld)", page, length, protection, static_cast<unsigned>(flags), fd, offset);
  if (at != MAP_FAILED) w.Note("%s", w.AreaName(at).c_str());
  if (at != MAP_FAILED && fd >= 0) w.vague_holes = true;
}

void Unmap(World& w, Rng& r) {
  const size_t page = r.Below(40), length = r.OneIn(20) ? 0 : (1 + r.Below(4)) * kPage - (r.OneIn(8) ? 50 : 0);
  const size_t off = r.OneIn(30) ? 8 : 0;
  w.Say(munmap(w.Area(page) + off, length), "munmap(@%zu+%zu, %zu)", page, off, length);
}

void Protect(World& w, Rng& r) {
  const size_t page = r.Below(40), length = r.OneIn(20) ? 0 : (1 + r.Below(6)) * kPage;
  const int protection = r.OneIn(30) ? 0x100 : Protection(r);
  w.Say(mprotect(w.Area(page), length, protection), "mprotect(@%zu, %zu, %#x)", page, length, static_cast<unsigned>(protection));
}

void Remap(World& w, Rng& r) {
  const size_t page = r.Below(40), to = r.Below(40), old_count = r.Below(5), new_count = r.Below(6);
  const int flags = r.Pick({MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED, 0, 0, MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 64});
  const size_t off = r.OneIn(40) ? 8 : 0;
  void* at = mremap(w.Area(page) + off, old_count * kPage, new_count * kPage, flags, w.Area(to));
  w.Say(at == MAP_FAILED ? -1 : 0, "mremap(@%zu+%zu, %zu, %zu, %#x, @%zu)", page, off, old_count, new_count, static_cast<unsigned>(flags), to);
  if (at != MAP_FAILED) w.Note("%s", w.AreaName(at).c_str());
}

void Advise(World& w, Rng& r) {
  const size_t page = r.Below(40), count = r.Below(6);
  const int advice = r.Pick({MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED, MADV_NORMAL, MADV_SEQUENTIAL, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK,
                             MADV_REMOVE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLD, MADV_DONTDUMP, MADV_DODUMP, 99});
  const size_t off = r.OneIn(40) ? 8 : 0;
  w.Say(madvise(w.Area(page) + off, count * kPage, advice), "madvise(@%zu+%zu, %zu, %d)", page, off, count, advice);
}

void Sync(World& w, Rng& r) {
  const size_t page = r.Below(40), count = r.Below(6);
  const int flags = r.Pick({MS_SYNC, MS_ASYNC, MS_INVALIDATE, MS_SYNC | MS_ASYNC, 8, 0});
  w.Say(msync(w.Area(page), count * kPage, flags), "msync(@%zu, %zu, %d)", page, count, flags);
}

void Lock(World& w, Rng& r) {
  const size_t page = r.Below(40), count = r.Below(6);
  switch (r.Below(4)) {
    case 0: return w.Say(mlock(w.Area(page), count * kPage), "mlock(@%zu, %zu)", page, count);
    case 1: return w.Say(munlock(w.Area(page), count * kPage), "munlock(@%zu, %zu)", page, count);
    case 2: {
      const unsigned flags = r.Pick({0U, 1U, 2U});
      return w.Say(mlock2(w.Area(page), count * kPage, flags), "mlock2(@%zu, %zu, %u)", page, count, flags);
    }
    default: return w.Say(munlockall(), "munlockall()");
  }
}

void Load(World& w, Rng& r) {
  const size_t page = r.Below(44), offset = r.Below(kPage / 8) * 8;
  uint64_t value = 0;
  const auto* at = reinterpret_cast<volatile uint64_t*>(w.Area(page) + offset);
  const bool whole = r.OneIn(2);
  if (whole) {
    w.Note("load @%zu", page);
    return w.NoteBytes(w.Area(page), kPage);
  }
  const bool done = w.Guarded([&] { value = *at; });
  w.Note("load @%zu+%zu %s", page, offset, done ? std::to_string(value).c_str() : w.fault.c_str());
}

void Store(World& w, Rng& r) {
  const size_t page = r.Below(44), offset = r.OneIn(3) ? 0 : r.Below(kPage / 8) * 8;
  const uint64_t value = r.Next();
  const size_t count = r.OneIn(3) ? (kPage - offset) / 8 : 1;
  auto* at = reinterpret_cast<volatile uint64_t*>(w.Area(page) + offset);
  const bool done = w.Guarded([&] {
    for (size_t i = 0; i < count; ++i) at[i] = value;
  });
  w.Note("store @%zu+%zu *%zu %s", page, offset, count, done ? "done" : w.fault.c_str());
}

void Mincore(World& w, Rng& r) {
  const size_t page = r.Below(40), count = 1 + r.Below(4), off = r.OneIn(30) ? 8 : 0;
  unsigned char present[8] = {};
  w.Say(mincore(w.Area(page) + off, count * kPage, present), "mincore(@%zu+%zu, %zu)", page, off, count);
}

void ProcessVm(World& w, Rng& r) {
  const bool reads = r.OneIn(2);
  const Buffer buffer = reads ? w.Target(r, w.Length(r)) : w.Source(r, w.Length(r));
  const size_t page = r.Below(40), first = r.Below(5000);
  const iovec local{buffer.at, buffer.length};
  const iovec remote[2] = {{w.Area(page), first}, {w.Area(r.Below(40)), buffer.length}};
  const ssize_t n = reads ? process_vm_readv(getpid(), &local, 1, remote, 2, 0) : process_vm_writev(getpid(), &local, 1, remote, 2, 0);
  w.Say(n, "process_vm_%s(%s, %zu, @%zu+%zu, %s)", reads ? "readv" : "writev", buffer.name.c_str(), buffer.length, page, first,
        w.AreaName(remote[1].iov_base).c_str());
  if (reads) w.NoteBytes(buffer.at, n);
}

// Futex calls that have nothing to wait for.
void Futex(World& w, Rng& r) {
  auto* word = reinterpret_cast<uint32_t*>(w.Area(r.Below(40)) + r.Pick({0, 0, 8, 1}));
  uint32_t value = 0;
  const bool there = w.Guarded([&] { memcpy(&value, word, sizeof(value)); });
  auto* second = reinterpret_cast<uint32_t*>(w.Area(r.Below(40)));
  const timespec soon{0, r.Pick({0L, 1L, -1L})};
  const int base = r.Pick({FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_TRYLOCK_PI,
                           FUTEX_UNLOCK_PI, FUTEX_LOCK_PI, 99});
  const bool pi = base == FUTEX_TRYLOCK_PI || base == FUTEX_UNLOCK_PI || base == FUTEX_LOCK_PI;
  if (pi && there && value != 0 && value != static_cast<uint32_t>(getpid())) return;
  const int operation = base | (r.OneIn(2) ? FUTEX_PRIVATE_FLAG : 0);
  const uint32_t expected = r.OneIn(2) ? value : 1;
  const unsigned third = r.Pick({~0U, 1U, 0U, 0x11002002U});
  const bool waits = base == FUTEX_WAIT || base == FUTEX_WAIT_BITSET || base == FUTEX_LOCK_PI;
  const long result = syscall(SYS_futex, word, operation, expected, waits ? &soon : reinterpret_cast<const timespec*>(1), second, third);
  w.Say(result, "futex(%s, %#x, %u, %ld, %s, %#x)", w.AreaName(word).c_str(), static_cast<unsigned>(operation), expected, soon.tv_nsec,
        w.AreaName(second).c_str(), third);
  if (pi && there) w.Guarded([&] { *word = 0; });  // the word holds the thread's number, which is not the same everywhere
}

void Show(World& w, Rng&) { w.PrintArea(); }

constexpr Operation kOperations[] = {
    {"map", 20, Map},      {"unmap", 4, Unmap}, {"protect", 10, Protect}, {"remap", 8, Remap},       {"advise", 10, Advise},       {"msync", 4, Sync},   {"mlock", 3, Lock},
    {"load", 20, Load},    {"store", 24, Store}, {"mincore", 2, Mincore}, {"process_vm", 4, ProcessVm}, {"futex", 6, Futex},       {"maps", 4, Show},
};

}  // namespace

std::span<const Operation> MemoryOperations() { return kOperations; }

}  // namespace differential
