// shmget(2), shmat(2), shmdt(2), shmctl(2).
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>

#include "ipc_support.h"

namespace {

using test::AsUser;
using test::Becomes;
using test::InChild;
using test::NewKey;
using test::Passes;

constexpr size_t kPage = 4096;

// A segment that is removed at the end.
class Segment {
 public:
  explicit Segment(size_t size = kPage, int flags = 0600, key_t key = IPC_PRIVATE) : id_(shmget(key, size, IPC_CREAT | flags)) {}
  ~Segment() { Remove(); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  int id() const { return id_; }
  void Remove() {
    if (id_ >= 0) shmctl(std::exchange(id_, -1), IPC_RMID, nullptr);
  }
  char* Attach(int flags = 0, const void* at = nullptr) const { return static_cast<char*>(shmat(id_, at, flags)); }
  shmid_ds Stat() const {
    shmid_ds ds{};
    EXPECT_EQ(shmctl(id_, IPC_STAT, &ds), 0) << strerror(errno);
    return ds;
  }
  unsigned long attached() const { return Stat().shm_nattch; }

 private:
  int id_;
};

char* Failed() { return reinterpret_cast<char*>(-1); }

TEST(Shmget, MakesAndFinds) {
  const key_t key = NewKey();
  EXPECT_FAILS(shmget(key, kPage, 0600), ENOENT);
  const Segment s(kPage + 1, 0640, key);
  ASSERT_GE(s.id(), 0);
  EXPECT_EQ(shmget(key, 0, 0), s.id());
  EXPECT_EQ(shmget(key, kPage + 1, IPC_CREAT | 0600), s.id());
  EXPECT_FAILS(shmget(key, kPage, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
  EXPECT_FAILS(shmget(key, kPage + 2, 0600), EINVAL);  // larger than it is
  const shmid_ds ds = s.Stat();
  EXPECT_EQ(ds.shm_perm.__key, key);
  EXPECT_EQ(ds.shm_perm.mode, 0640);
  EXPECT_EQ(ds.shm_perm.uid, geteuid());
  EXPECT_EQ(ds.shm_perm.cgid, getegid());
  EXPECT_EQ(ds.shm_segsz, kPage + 1);
  EXPECT_EQ(ds.shm_cpid, getpid());
  EXPECT_EQ(ds.shm_lpid, 0);
  EXPECT_EQ(ds.shm_nattch, 0u);
  EXPECT_EQ(ds.shm_atime, 0);
  EXPECT_EQ(ds.shm_dtime, 0);
  EXPECT_LE(std::abs(ds.shm_ctime - time(nullptr)), 5);
}

TEST(Shmget, Refuses) {
  EXPECT_FAILS(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
  EXPECT_FAILS(shmget(NewKey(), 0, IPC_CREAT | 0600), EINVAL);
  EXPECT_FAILS(shmget(IPC_PRIVATE, ~size_t{0}, 0600), EINVAL);
  EXPECT_FAILS(shmget(IPC_PRIVATE, size_t{1} << 62, 0600), ENOMEM);
  EXPECT_FAILS(shmget(IPC_PRIVATE, 4 << 20, 0600 | SHM_HUGETLB), ENOMEM);  // no pool
  EXPECT_FAILS(shmget(IPC_PRIVATE, 4 << 20, 0600 | SHM_HUGETLB | (5 << 26)), EINVAL);
}

TEST(Shmget, PrivateIsAlwaysNewAndIdsAreNotReusedAtOnce) {
  const Segment a, b;
  EXPECT_NE(a.id(), b.id());
  int old = -1;
  for (int i = 0; i < 100; ++i) {
    const int id = shmget(IPC_PRIVATE, kPage, 0600);
    ASSERT_GE(id, 0);
    EXPECT_NE(id, old);
    EXPECT_EQ(shmctl(id, IPC_RMID, nullptr), 0);
    shmid_ds ds{};
    EXPECT_FAILS(shmctl(id, IPC_STAT, &ds), EINVAL);
    old = id;
  }
}

TEST(Shmat, SharesMemoryAmongProcesses) {
  const Segment s(3 * kPage);
  char* const p = s.Attach();
  ASSERT_NE(p, Failed());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kPage, 0u);
  EXPECT_TRUE(std::all_of(p, p + 3 * kPage, [](char c) { return c == 0; }));
  p[0] = 'a';
  Passes(InChild([&] {
    IN_CHILD(p[0] == 'a');  // inherited
    char* const q = s.Attach();
    IN_CHILD(q != Failed() && q != p);
    q[2 * kPage] = 'b';
    return 0;
  }));
  EXPECT_EQ(p[2 * kPage], 'b');
  EXPECT_EQ(shmdt(p), 0);
  EXPECT_FAILS(shmdt(p), EINVAL);
}

TEST(Shmat, ContentsStayWithoutAttachments) {
  const Segment s;
  char* p = s.Attach();
  strcpy(p, "kept");
  ASSERT_EQ(shmdt(p), 0);
  p = s.Attach(SHM_RDONLY);
  EXPECT_STREQ(p, "kept");
  shmdt(p);
}

TEST(Shmat, CountsAndTimes) {
  const Segment s;
  char* const p = s.Attach();
  char* const q = s.Attach();
  EXPECT_EQ(s.attached(), 2u);
  EXPECT_LE(std::abs(s.Stat().shm_atime - time(nullptr)), 5);
  EXPECT_EQ(s.Stat().shm_lpid, getpid());
  EXPECT_EQ(s.Stat().shm_dtime, 0);
  shmdt(q);
  EXPECT_EQ(s.attached(), 1u);
  EXPECT_LE(std::abs(s.Stat().shm_dtime - time(nullptr)), 5);
  pid_t child = test::Spawn([] {
    pause();
    return 0;
  });
  EXPECT_EQ(s.attached(), 2u);
  kill(child, SIGKILL);
  EXPECT_EQ(test::StatusOf(child), 1000 + SIGKILL);
  EXPECT_TRUE(Becomes([&] { return s.attached() == 1; }));
  EXPECT_TRUE(Becomes([&] { return s.Stat().shm_lpid == child; }));
  shmdt(p);
}

TEST(Shmat, ExecDetaches) {
  const Segment s;
  char* const p = s.Attach();
  const auto [in, out] = test::MakePipe();
  const pid_t child = fork();
  if (child == 0) {
    dup2(in.get(), 0);
    close(out.get());
    execl("/bin/cat", "cat", nullptr);
    _exit(1);
  }
  EXPECT_TRUE(Becomes([&] { return s.attached() == 1; }));
  kill(child, SIGKILL);
  test::StatusOf(child);
  shmdt(p);
}

TEST(Shmat, VforkAndThreadsDoNotCount) {
  const Segment s;
  char* const p = s.Attach();
  std::thread([&] { EXPECT_EQ(s.attached(), 1u); }).join();
  shmdt(p);
}

TEST(Shmat, Flags) {
  const Segment s(2 * kPage);
  // SHM_RDONLY, which mprotect cannot widen.
  char* const r = s.Attach(SHM_RDONLY);
  ASSERT_NE(r, Failed());
  EXPECT_EQ(InChild([&] {
              *static_cast<volatile char*>(r) = 1;
              return 0;
            }),
            1000 + SIGSEGV);
  EXPECT_FAILS(mprotect(r, kPage, PROT_READ | PROT_WRITE), EACCES);
  shmdt(r);
  // A place of our own.
  char* const room = static_cast<char*>(mmap(nullptr, 8 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(room, 8 * kPage);
  EXPECT_EQ(s.Attach(0, room + kPage), room + kPage);
  EXPECT_EQ(s.Attach(0, room + kPage), Failed());  // taken
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(s.Attach(0, room), Failed());  // overlaps
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(s.Attach(0, room + 5 * kPage + 5), Failed());
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(s.Attach(SHM_RND, room + 5 * kPage + 5), room + 5 * kPage);
  room[kPage] = 'x';
  EXPECT_EQ(room[5 * kPage], 'x');
  // SHM_REMAP replaces what is there.
  EXPECT_EQ(s.attached(), 2u);
  EXPECT_EQ(s.Attach(SHM_REMAP, room + 2 * kPage), room + 2 * kPage);
  EXPECT_EQ(s.attached(), 3u);
  EXPECT_EQ(room[2 * kPage], 'x');
  EXPECT_EQ(s.Attach(SHM_REMAP, nullptr), Failed());
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(s.Attach(SHM_REMAP | SHM_RND, reinterpret_cast<void*>(5)), Failed());
  EXPECT_EQ(errno, EINVAL);
  for (const size_t at : {size_t{1}, size_t{2}, size_t{5}}) EXPECT_EQ(shmdt(room + at * kPage), 0) << at;
  EXPECT_EQ(s.attached(), 0u);
}

TEST(Shmat, Execute) {
  const Segment s(kPage, 0700);
  char* const p = s.Attach(SHM_EXEC);
  ASSERT_NE(p, Failed());
  p[0] = '\xc3';  // ret
  reinterpret_cast<void (*)()>(p)();
  shmdt(p);
}

TEST(Shmat, Errors) {
  EXPECT_EQ(shmat(-1, nullptr, 0), Failed());
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(shmat(0x7fffffff, nullptr, 0), Failed());
  EXPECT_EQ(errno, EINVAL);
  char on_stack = 0;
  EXPECT_FAILS(shmdt(&on_stack), EINVAL);
  EXPECT_FAILS(shmdt(nullptr), EINVAL);
  void* const other = mmap(nullptr, kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_FAILS(shmdt(other), EINVAL);
  munmap(other, kPage);
}

TEST(Shmat, PartsCountAsLinuxCountsThem) {
  const Segment s(4 * kPage);
  char* const p = s.Attach();
  ASSERT_EQ(munmap(p + kPage, kPage), 0);
  EXPECT_EQ(s.attached(), 2u);
  ASSERT_EQ(mprotect(p + 3 * kPage, kPage, PROT_READ), 0);
  EXPECT_EQ(s.attached(), 3u);
  ASSERT_EQ(mprotect(p + 3 * kPage, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(s.attached(), 3u);  // never merged again
  ASSERT_EQ(munmap(p, kPage), 0);
  EXPECT_EQ(s.attached(), 2u);
  // shmdt finds the rest by where it would be.
  EXPECT_EQ(shmdt(p), 0);
  EXPECT_EQ(s.attached(), 0u);
  EXPECT_FAILS(shmdt(p), EINVAL);
}

TEST(Shmat, ShmdtLeavesOtherAttachments) {
  const Segment s(2 * kPage);
  char* const room = static_cast<char*>(mmap(nullptr, 8 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(room, 8 * kPage);
  ASSERT_EQ(s.Attach(0, room), room);
  ASSERT_EQ(s.Attach(0, room + 2 * kPage), room + 2 * kPage);
  EXPECT_EQ(shmdt(room), 0);
  EXPECT_EQ(s.attached(), 1u);
  EXPECT_EQ(shmdt(room + 2 * kPage), 0);
  EXPECT_EQ(s.attached(), 0u);
}

TEST(Shmat, Mremap) {
  const Segment s(2 * kPage);
  char* const p = s.Attach();
  strcpy(p, "moved");
  char* const to = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(mremap(p, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
  EXPECT_EQ(s.attached(), 1u);
  EXPECT_STREQ(to, "moved");
  ASSERT_EQ(mremap(to, 2 * kPage, kPage, 0), to);
  EXPECT_EQ(s.attached(), 1u);
  // A second mapping of the same pages.
  void* const second = mremap(to, 0, kPage, MREMAP_MAYMOVE);
  ASSERT_NE(second, MAP_FAILED);
  EXPECT_EQ(s.attached(), 2u);
  EXPECT_STREQ(static_cast<char*>(second), "moved");
  EXPECT_EQ(shmdt(second), 0);
  EXPECT_EQ(shmdt(to), 0);
  EXPECT_EQ(s.attached(), 0u);
}

TEST(Shmat, GrowsInPlaceAsOneAndEndsWithTheSegment) {
  const Segment s(kPage);
  char* const room = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(room, 4 * kPage);
  ASSERT_EQ(s.Attach(0, room), room);
  ASSERT_EQ(mremap(room, kPage, 2 * kPage, 0), room);
  EXPECT_EQ(s.attached(), 1u);
  EXPECT_EQ(InChild([&] {
              *static_cast<volatile char*>(room + kPage) = 1;
              return 0;
            }),
            1000 + SIGBUS);
  munmap(room, 2 * kPage);
  EXPECT_EQ(s.attached(), 0u);
}

// Whoever has waited for a process finds its memory taken down.
TEST(Shmat, AProcessThatHasEndedIsNotCounted) {
  const Segment s;
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(InChild([&] { return s.Attach() == Failed() ? 1 : 0; }), 0);
    ASSERT_EQ(s.attached(), 0u) << i;
  }
}

TEST(Shmat, FutexesWorkAcrossAttachments) {
  const Segment s;
  auto* const a = reinterpret_cast<std::atomic<int>*>(s.Attach());
  auto* const b = reinterpret_cast<std::atomic<int>*>(s.Attach());
  const pid_t child = test::Spawn([&] {
    while (b->load() == 0) syscall(SYS_futex, b, FUTEX_WAIT, 0, nullptr, nullptr, 0);
    return 0;
  });
  test::SleepMs(20);
  a->store(1);
  syscall(SYS_futex, a, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  Passes(test::StatusOf(child));
  shmdt(a);
  shmdt(b);
}

TEST(Shmat, MapsShowIt) {
  const key_t key = NewKey();
  const Segment s(2 * kPage, 0600, key);
  char* const p = s.Attach();
  char line[200];
  snprintf(line, sizeof(line), "%lx-%lx rw-s 00000000 00:01 %d ", reinterpret_cast<unsigned long>(p), reinterpret_cast<unsigned long>(p + 2 * kPage),
           s.id());
  const std::string maps = test::ReadAll("/proc/self/maps");
  const size_t at = maps.find(line);
  ASSERT_NE(at, std::string::npos) << line << "\n" << maps;
  snprintf(line, sizeof(line), "/SYSV%08x (deleted)", key);
  EXPECT_NE(maps.substr(at, maps.find('\n', at) - at).find(line), std::string::npos) << maps;
  shmdt(p);
}

TEST(Shmctl, RemovedWhileAttached) {
  const key_t key = NewKey();
  Segment s(kPage, 0600, key);
  const int id = s.id();
  char* const p = s.Attach();
  strcpy(p, "still");
  EXPECT_EQ(shmctl(id, IPC_RMID, nullptr), 0);
  EXPECT_FAILS(shmget(key, kPage, 0), ENOENT);
  EXPECT_EQ(s.Stat().shm_perm.mode & SHM_DEST, SHM_DEST);
  EXPECT_EQ(s.Stat().shm_perm.__key, IPC_PRIVATE);
  char* const q = s.Attach();  // as Linux allows
  EXPECT_STREQ(q, "still");
  shmdt(q);
  EXPECT_EQ(s.attached(), 1u);
  shmdt(p);
  shmid_ds ds{};
  EXPECT_FAILS(shmctl(id, IPC_STAT, &ds), EINVAL);
  EXPECT_EQ(shmat(id, nullptr, 0), Failed());
}

TEST(Shmctl, SetAndErrors) {
  const Segment s;
  shmid_ds ds = s.Stat();
  ds.shm_perm.mode = 01777;
  ds.shm_perm.uid = 12;
  ds.shm_perm.gid = 13;
  EXPECT_EQ(shmctl(s.id(), IPC_SET, &ds), 0);
  const shmid_ds now = s.Stat();
  EXPECT_EQ(now.shm_perm.mode, 0777);
  EXPECT_EQ(now.shm_perm.uid, 12u);
  EXPECT_EQ(now.shm_perm.gid, 13u);
  EXPECT_EQ(now.shm_perm.cuid, geteuid());
  ds.shm_perm.uid = ~0u;
  EXPECT_FAILS(shmctl(s.id(), IPC_SET, &ds), EINVAL);
  EXPECT_FAILS(shmctl(s.id(), 99, &ds), EINVAL);
  EXPECT_FAILS(shmctl(-1, IPC_STAT, &ds), EINVAL);
  EXPECT_FAILS(shmctl(0x7ffffff, IPC_RMID, nullptr), EINVAL);
  EXPECT_FAILS(shmctl(s.id(), IPC_STAT, reinterpret_cast<shmid_ds*>(test::BadAddress())), EFAULT);
  EXPECT_FAILS(shmctl(s.id(), IPC_SET, reinterpret_cast<shmid_ds*>(test::BadAddress())), EFAULT);
}

TEST(Shmctl, Rights) {
  const Segment mine(kPage, 0600), readable(kPage, 0644), other(kPage, 0606);
  const int a = mine.id(), b = readable.id(), c = other.id();
  Passes(AsUser(4711, [=] {
    shmid_ds ds{};
    IN_CHILD_FAILS(shmctl(a, IPC_STAT, &ds), EACCES);
    IN_CHILD(shmctl(b, IPC_STAT, &ds) == 0);
    IN_CHILD(shmat(a, nullptr, SHM_RDONLY) == Failed() && errno == EACCES);
    IN_CHILD(shmat(b, nullptr, 0) == Failed() && errno == EACCES);
    IN_CHILD(shmat(b, nullptr, SHM_RDONLY) != Failed());
    IN_CHILD(shmat(c, nullptr, SHM_EXEC) == Failed() && errno == EACCES);
    IN_CHILD(shmat(c, nullptr, 0) != Failed());
    IN_CHILD_FAILS(shmctl(b, IPC_RMID, nullptr), EPERM);
    IN_CHILD_FAILS(shmctl(b, IPC_SET, &ds), EPERM);
    IN_CHILD_FAILS(shmctl(b, SHM_LOCK, nullptr), EPERM);
    const key_t key = NewKey();
    const int own = shmget(key, kPage, IPC_CREAT | 0000);
    IN_CHILD(own >= 0);
    IN_CHILD_FAILS(shmget(key, kPage, 0400), EACCES);
    IN_CHILD(shmget(key, kPage, 0) == own);
    IN_CHILD_FAILS(shmctl(own, IPC_STAT, &ds), EACCES);
    IN_CHILD(shmctl(own, IPC_RMID, nullptr) == 0);
    return 0;
  }));
}

TEST(Shmctl, InfoAndIndexes) {
  const Segment s(3 * kPage);
  char* const p = s.Attach();
  p[0] = 1;
  shminfo limits{};
  const int highest = shmctl(0, IPC_INFO, reinterpret_cast<shmid_ds*>(&limits));
  ASSERT_GE(highest, 0);
  EXPECT_EQ(limits.shmmin, 1u);
  EXPECT_EQ(limits.shmmni, limits.shmseg);
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/shmmax"), std::to_string(limits.shmmax) + "\n");
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/shmall"), std::to_string(limits.shmall) + "\n");
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/shmmni"), std::to_string(limits.shmmni) + "\n");
  shm_info usage{};
  EXPECT_EQ(shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&usage)), highest);
  EXPECT_GE(usage.used_ids, 1);
  EXPECT_GE(usage.shm_tot, 3u);
  EXPECT_GE(usage.shm_rss, 1u);
  bool found = false;
  for (int i = 0; i <= highest; ++i) {
    shmid_ds ds{};
    const int id = shmctl(i, SHM_STAT, &ds);
    if (id == s.id()) {
      found = true;
      EXPECT_EQ(ds.shm_segsz, 3 * kPage);
      EXPECT_EQ(shmctl(i, 15 /* SHM_STAT_ANY */, &ds), id);
    }
  }
  EXPECT_TRUE(found);
  const int index = s.id() & 0x7fff;
  Passes(AsUser(4711, [=] {
    shmid_ds ds{};
    IN_CHILD_FAILS(shmctl(index, SHM_STAT, &ds), EACCES);
    IN_CHILD(shmctl(index, 15, &ds) >= 0);
    return 0;
  }));
  shmid_ds ds{};
  EXPECT_FAILS(shmctl(30000, SHM_STAT, &ds), EINVAL);
  shmdt(p);
}

TEST(Shmctl, LockIsRemembered) {
  const Segment s;
  EXPECT_EQ(shmctl(s.id(), SHM_LOCK, nullptr), 0);
  EXPECT_EQ(s.Stat().shm_perm.mode & SHM_LOCKED, SHM_LOCKED);
  EXPECT_EQ(shmctl(s.id(), SHM_UNLOCK, nullptr), 0);
  EXPECT_EQ(s.Stat().shm_perm.mode & SHM_LOCKED, 0);
  Passes(AsUser(4711, [] {
    rlimit limit{2 * kPage, 2 * kPage};
    IN_CHILD(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    const Segment small(2 * kPage), large(3 * kPage);
    IN_CHILD_FAILS(shmctl(large.id(), SHM_LOCK, nullptr), ENOMEM);
    IN_CHILD(shmctl(small.id(), SHM_LOCK, nullptr) == 0);
    IN_CHILD(shmctl(small.id(), SHM_UNLOCK, nullptr) == 0);
    limit.rlim_cur = 0;
    IN_CHILD(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    IN_CHILD_FAILS(shmctl(small.id(), SHM_LOCK, nullptr), EPERM);
    return 0;
  }));
}

TEST(Shmctl, ProcTable) {
  const key_t key = NewKey();
  const Segment s(5000, 0640, key);
  char* const p = s.Attach();
  p[4096] = 1;
  const std::vector<std::string> line = test::ProcLine("shm", s.id());
  ASSERT_EQ(line.size(), 16u);
  EXPECT_EQ(line[0], std::to_string(key));
  EXPECT_EQ(line[2], "640");
  EXPECT_EQ(line[3], "5000");
  EXPECT_EQ(line[4], std::to_string(getpid()));
  EXPECT_EQ(line[6], "1");
  EXPECT_NE(line[14], "0");
  shmdt(p);
}

TEST(Shmctl, SettingsApply) {
  const auto write_setting = [](const char* text) {
    std::ofstream out("/proc/sys/kernel/shmmni");
    out << text << std::flush;
    return static_cast<bool>(out);
  };
  const std::string old = test::ReadAll("/proc/sys/kernel/shmmni");
  ASSERT_TRUE(write_setting("0"));
  EXPECT_FAILS(shmget(IPC_PRIVATE, kPage, 0600), ENOSPC);
  EXPECT_FALSE(write_setting("40000"));
  EXPECT_FALSE(write_setting("many"));
  ASSERT_TRUE(write_setting(old.c_str()));
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/shmmni"), old);
}

TEST(Shm, ManyProcessesAttachAndDetach) {
  const Segment s(kPage);
  auto* const counter = reinterpret_cast<std::atomic<int>*>(s.Attach());
  constexpr int kProcesses = 8, kRounds = 50;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(test::Spawn([&] {
      for (int round = 0; round < kRounds; ++round) {
        char* const q = s.Attach();
        IN_CHILD(q != Failed());
        reinterpret_cast<std::atomic<int>*>(q)->fetch_add(1);
        IN_CHILD(shmdt(q) == 0);
      }
      return 0;
    }));
  }
  for (const pid_t child : children) Passes(test::StatusOf(child));
  EXPECT_EQ(counter->load(), kProcesses * kRounds);
  EXPECT_TRUE(Becomes([&] { return s.attached() == 1; }));
  shmdt(counter);
}

// remap_file_pages(2) maps anew what is attached: that ends with the last attachment of what was removed.
TEST(ShmRemap, WhatWasRemovedIsNotAttachedAnew) {
  Segment segment;
  const int id = segment.id();
  char* const at = segment.Attach();
  at[0] = 'x';
  EXPECT_EQ(syscall(SYS_remap_file_pages, at, kPage, 0, 0, 0), 0);
  EXPECT_EQ(segment.attached(), 1u);
  EXPECT_EQ(at[0], 'x');
  segment.Remove();
  errno = 0;
  EXPECT_EQ(syscall(SYS_remap_file_pages, at, kPage, 0, 0, 0), -1);
  EXPECT_TRUE(errno == EINVAL || errno == EIDRM) << errno;
  EXPECT_EQ(shmdt(at), -1);  // it is not mapped any more
  EXPECT_EQ(errno, EINVAL);
  shmid_ds ds{};
  EXPECT_EQ(shmctl(id, IPC_STAT, &ds), -1);
}

}  // namespace
