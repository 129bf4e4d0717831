// semget(2), semop(2), semtimedop(2), semctl(2).
#include <sched.h>
#include <sys/mman.h>

#include <array>

#include "ipc_support.h"

namespace {

using test::AsUser;
using test::Becomes;
using test::Handled;
using test::InChild;
using test::NewKey;
using test::Passes;
using test::Spawn;
using test::StatusOf;

constexpr int kSemStatAny = 20;

union Argument {
  int val;
  semid_ds* buf;
  unsigned short* array;
  seminfo* info;
};

class Set {
 public:
  explicit Set(int count = 1, int flags = 0600, key_t key = IPC_PRIVATE) : id_(semget(key, count, IPC_CREAT | flags)) {}
  ~Set() { Remove(); }
  Set(const Set&) = delete;
  Set& operator=(const Set&) = delete;
  void Remove() {
    if (id_ >= 0) semctl(std::exchange(id_, -1), 0, IPC_RMID);
  }
  int id() const { return id_; }
  int Op(int change, int flags = 0, int number = 0) const {
    sembuf op{static_cast<unsigned short>(number), static_cast<short>(change), static_cast<short>(flags)};
    return semop(id_, &op, 1);
  }
  int Ops(std::vector<sembuf> ops) const { return semop(id_, ops.data(), ops.size()); }
  int Timed(int change, long ms, int number = 0) const {
    sembuf op{static_cast<unsigned short>(number), static_cast<short>(change), 0};
    const timespec limit{ms / 1000, ms % 1000 * 1000000};
    return semtimedop(id_, &op, 1, &limit);
  }
  int Value(int number = 0) const { return semctl(id_, number, GETVAL); }
  int Assign(int value, int number = 0) const { return semctl(id_, number, SETVAL, Argument{.val = value}); }
  int Waiting(int number = 0) const { return semctl(id_, number, GETNCNT); }
  int WaitingForZero(int number = 0) const { return semctl(id_, number, GETZCNT); }
  semid_ds Stat() const {
    semid_ds ds{};
    EXPECT_EQ(semctl(id_, 0, IPC_STAT, Argument{.buf = &ds}), 0);
    return ds;
  }

 private:
  int id_;
};

TEST(Semget, MakesAndFinds) {
  const key_t key = NewKey();
  EXPECT_FAILS(semget(key, 3, 0600), ENOENT);
  const Set s(3, 0640, key);
  ASSERT_GE(s.id(), 0);
  EXPECT_EQ(semget(key, 0, 0), s.id());
  EXPECT_EQ(semget(key, 3, IPC_CREAT | 0600), s.id());
  EXPECT_FAILS(semget(key, 4, 0600), EINVAL);
  EXPECT_FAILS(semget(key, 3, IPC_CREAT | IPC_EXCL), EEXIST);
  const semid_ds ds = s.Stat();
  EXPECT_EQ(ds.sem_nsems, 3u);
  EXPECT_EQ(ds.sem_otime, 0);
  EXPECT_LE(std::abs(ds.sem_ctime - time(nullptr)), 5);
  EXPECT_EQ(ds.sem_perm.mode, 0640);
  EXPECT_EQ(ds.sem_perm.__key, key);
  EXPECT_EQ(s.Value(0) + s.Value(1) + s.Value(2), 0);
  EXPECT_EQ(semctl(s.id(), 0, GETPID), 0);
}

TEST(Semget, Refuses) {
  EXPECT_FAILS(semget(IPC_PRIVATE, 0, 0600), EINVAL);
  EXPECT_FAILS(semget(NewKey(), 0, IPC_CREAT | 0600), EINVAL);
  EXPECT_FAILS(semget(IPC_PRIVATE, -1, 0600), EINVAL);
  EXPECT_FAILS(semget(IPC_PRIVATE, 32001, 0600), EINVAL);
  const Set large(32000);
  EXPECT_GE(large.id(), 0);
  EXPECT_EQ(large.Op(1, 0, 31999), 0);
  EXPECT_EQ(large.Value(31999), 1);
}

TEST(Semop, AddsAndTakes) {
  const Set s(2);
  EXPECT_EQ(s.Op(5), 0);
  EXPECT_EQ(s.Value(), 5);
  EXPECT_EQ(s.Op(-3), 0);
  EXPECT_EQ(s.Value(), 2);
  EXPECT_EQ(semctl(s.id(), 0, GETPID), getpid());
  EXPECT_LE(std::abs(s.Stat().sem_otime - time(nullptr)), 5);
  EXPECT_FAILS(s.Op(-3, IPC_NOWAIT), EAGAIN);
  EXPECT_FAILS(s.Op(0, IPC_NOWAIT), EAGAIN);
  EXPECT_EQ(s.Op(0, IPC_NOWAIT, 1), 0);
  EXPECT_FAILS(s.Op(32766), ERANGE);
  EXPECT_EQ(s.Op(32765), 0);
  EXPECT_EQ(s.Value(), 32767);
  EXPECT_FAILS(s.Op(1), ERANGE);
}

TEST(Semop, Errors) {
  const Set s(2);
  sembuf op{0, 1, 0};
  EXPECT_FAILS(semop(s.id(), &op, 0), EINVAL);
  EXPECT_FAILS(semop(-1, &op, 1), EINVAL);
  EXPECT_FAILS(semop(0x7ffffff, &op, 1), EINVAL);
  std::vector<sembuf> many(501, op);
  EXPECT_FAILS(semop(s.id(), many.data(), 501), E2BIG);
  EXPECT_EQ(semop(s.id(), many.data(), 500), 0);
  EXPECT_EQ(s.Value(), 500);
  EXPECT_FAILS(s.Op(1, 0, 2), EFBIG);
  EXPECT_FAILS(semop(s.id(), reinterpret_cast<sembuf*>(test::BadAddress()), 1), EFAULT);
  const timespec bad{0, 1000000000}, negative{-1, 0};
  EXPECT_FAILS(semtimedop(s.id(), &op, 1, &bad), EINVAL);
  EXPECT_FAILS(semtimedop(s.id(), &op, 1, &negative), EINVAL);
  EXPECT_FAILS(semtimedop(s.id(), &op, 1, reinterpret_cast<timespec*>(test::BadAddress())), EFAULT);
}

TEST(Semop, SeveralAreOne) {
  const Set s(3);
  s.Assign(1, 0);
  EXPECT_FAILS(s.Ops({{0, -1, 0}, {1, 1, 0}, {2, -1, IPC_NOWAIT}}), EAGAIN);
  EXPECT_EQ(s.Value(0), 1);
  EXPECT_EQ(s.Value(1), 0);
  // In order, on the same semaphore.
  EXPECT_EQ(s.Ops({{1, 3, 0}, {1, -3, 0}, {1, 0, IPC_NOWAIT}, {1, 2, 0}}), 0);
  EXPECT_EQ(s.Value(1), 2);
  EXPECT_FAILS(s.Ops({{1, -3, IPC_NOWAIT}, {1, 3, 0}}), EAGAIN);
  EXPECT_FAILS(s.Ops({{0, 1, 0}, {1, 32767, 0}}), ERANGE);
  EXPECT_EQ(s.Value(0), 1);
  // IPC_NOWAIT counts where it stands.
  EXPECT_FAILS(s.Ops({{0, -1, 0}, {2, -1, IPC_NOWAIT}}), EAGAIN);
}

TEST(Semop, WaitsForIncrease) {
  const Set s;
  const pid_t child = Spawn([&] { return s.Op(-2); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 1; }));
  EXPECT_EQ(s.WaitingForZero(), 0);
  EXPECT_EQ(s.Op(1), 0);
  test::SleepMs(30);
  EXPECT_EQ(s.Waiting(), 1);
  EXPECT_EQ(s.Op(1), 0);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(), 0);
  EXPECT_EQ(semctl(s.id(), 0, GETPID), child);
  EXPECT_EQ(s.Waiting(), 0);
}

TEST(Semop, WaitsForZero) {
  const Set s;
  s.Assign(2);
  const pid_t child = Spawn([&] { return s.Op(0); });
  EXPECT_TRUE(Becomes([&] { return s.WaitingForZero() == 1; }));
  EXPECT_EQ(s.Waiting(), 0);
  EXPECT_EQ(s.Op(-1), 0);
  test::SleepMs(30);
  EXPECT_EQ(s.WaitingForZero(), 1);
  EXPECT_EQ(s.Op(-1), 0);
  Passes(StatusOf(child));
}

TEST(Semop, ZeroWaitersGoBeforeTakers) {
  // Both wait; when it becomes zero, who waits for zero is served although a taker comes with the same change.
  const Set s(2);
  s.Assign(1);
  const pid_t zero = Spawn([&] { return s.Op(0); });
  EXPECT_TRUE(Becomes([&] { return s.WaitingForZero() == 1; }));
  EXPECT_EQ(s.Ops({{0, -1, 0}, {1, 1, 0}}), 0);
  EXPECT_EQ(s.Op(1), 0);
  Passes(StatusOf(zero));
}

TEST(Semop, CountsTheOperationThatStandsInTheWay) {
  const Set s(2);
  s.Assign(1, 1);
  // First blocked on semaphore 0, although 1 is not zero either.
  const pid_t child = Spawn([&] { return s.Ops({{0, -1, 0}, {1, 0, 0}}); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting(0) == 1; }));
  EXPECT_EQ(s.WaitingForZero(1), 0);
  s.Op(1, 0, 0);
  EXPECT_TRUE(Becomes([&] { return s.WaitingForZero(1) == 1; }));
  EXPECT_EQ(s.Waiting(0), 0);
  EXPECT_EQ(s.Value(0), 1);
  s.Op(-1, 0, 1);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(0), 0);
}

TEST(Semop, WaitersOfOneAmountAreServedInOrder) {
  const Set s;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(Spawn([&] { return s.Op(-1); }));
    ASSERT_TRUE(Becomes([&] { return s.Waiting() == i + 1; }));
  }
  for (const pid_t child : children) {
    s.Op(1);
    Passes(StatusOf(child));
    EXPECT_EQ(semctl(s.id(), 0, GETPID), child);
  }
}

TEST(Semop, SmallWaitersPassLargeOnes) {
  const Set s;
  const pid_t large = Spawn([&] { return s.Op(-5); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 1; }));
  const pid_t small = Spawn([&] { return s.Op(-1); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 2; }));
  s.Op(1);
  Passes(StatusOf(small));
  s.Op(5);
  Passes(StatusOf(large));
}

TEST(Semop, OneChangeWakesAChain) {
  const Set s(4);
  std::vector<pid_t> children;
  for (unsigned short i = 0; i < 3; ++i) {
    const auto next = static_cast<unsigned short>(i + 1);
    children.push_back(Spawn([&, i] { return s.Ops({{i, -1, 0}, {next, 1, 0}}); }));
    ASSERT_TRUE(Becomes([&] { return s.Waiting(i) == 1; }));
  }
  s.Op(1);
  for (const pid_t child : children) Passes(StatusOf(child));
  EXPECT_EQ(s.Value(3), 1);
}

TEST(Semop, TimesOut) {
  const Set s;
  const int64_t start = test::NowMs();
  EXPECT_FAILS(s.Timed(-1, 80), EAGAIN);
  EXPECT_GE(test::NowMs() - start, 75);
  EXPECT_FAILS(s.Timed(-1, 0), EAGAIN);
  EXPECT_EQ(s.Waiting(), 0);
  s.Op(1);
  EXPECT_EQ(s.Timed(-1, 0), 0);
}

TEST(Semop, SignalsInterruptEvenWithRestart) {
  const Set s;
  const Handled handled(SIGUSR1, SA_RESTART);
  const pthread_t self = pthread_self();
  const test::Later later(50, [self] { pthread_kill(self, SIGUSR1); });
  EXPECT_FAILS(s.Op(-1), EINTR);
  EXPECT_EQ(s.Waiting(), 0);
}

TEST(Semop, RemovalWakes) {
  Set s(2);
  const pid_t a = Spawn([&] {
    IN_CHILD_FAILS(s.Op(-1), EIDRM);
    return 0;
  });
  const pid_t b = Spawn([&] {
    IN_CHILD_FAILS(s.Ops({{0, -1, 0}, {1, -1, 0}}), EIDRM);
    return 0;
  });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 2; }));
  s.Remove();
  Passes(StatusOf(a));
  Passes(StatusOf(b));
}

TEST(Semop, SetvalAndSetallWake) {
  const Set s(2);
  pid_t child = Spawn([&] { return s.Op(-3); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 1; }));
  EXPECT_EQ(s.Assign(4), 0);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(), 1);
  child = Spawn([&] { return s.Ops({{0, 0, 0}, {1, -1, 0}}); });
  EXPECT_TRUE(Becomes([&] { return s.WaitingForZero() == 1; }));
  std::array<unsigned short, 2> values{0, 2};
  EXPECT_EQ(semctl(s.id(), 0, SETALL, Argument{.array = values.data()}), 0);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(1), 1);
}

TEST(Semop, NowaitPartFailsASleeper) {
  // While it sleeps on its first operation, the second with IPC_NOWAIT decides at the next try.
  const Set s(2);
  const pid_t child = Spawn([&] {
    IN_CHILD_FAILS(s.Ops({{0, -1, 0}, {1, -1, IPC_NOWAIT}}), EAGAIN);
    return 0;
  });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 1; }));
  s.Op(1);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(), 1);
}

TEST(Semctl, ValuesAndErrors) {
  const Set s(3);
  std::array<unsigned short, 3> values{1, 2, 3}, read{};
  EXPECT_EQ(semctl(s.id(), 0, SETALL, Argument{.array = values.data()}), 0);
  EXPECT_EQ(semctl(s.id(), 0, GETALL, Argument{.array = read.data()}), 0);
  EXPECT_EQ(values, read);
  values[1] = 32768;
  EXPECT_FAILS(semctl(s.id(), 0, SETALL, Argument{.array = values.data()}), ERANGE);
  EXPECT_EQ(s.Value(0), 1);
  EXPECT_FAILS(s.Assign(-1), ERANGE);
  EXPECT_FAILS(s.Assign(32768), ERANGE);
  EXPECT_FAILS(s.Assign(1, 3), EINVAL);
  EXPECT_FAILS(s.Assign(1, -1), EINVAL);
  EXPECT_FAILS(s.Value(3), EINVAL);
  EXPECT_FAILS(semctl(s.id(), -1, GETNCNT), EINVAL);
  EXPECT_FAILS(semctl(s.id(), 0, 99), EINVAL);
  EXPECT_FAILS(semctl(-1, 0, GETVAL), EINVAL);
  EXPECT_FAILS(semctl(0x7ffffff, 0, GETVAL), EINVAL);
  EXPECT_FAILS(semctl(s.id(), 0, GETALL, Argument{.array = reinterpret_cast<unsigned short*>(test::BadAddress())}), EFAULT);
  EXPECT_FAILS(semctl(s.id(), 0, SETALL, Argument{.array = reinterpret_cast<unsigned short*>(test::BadAddress())}), EFAULT);
  EXPECT_FAILS(semctl(s.id(), 0, IPC_STAT, Argument{.buf = reinterpret_cast<semid_ds*>(test::BadAddress())}), EFAULT);
}

TEST(Semctl, SetAndRights) {
  const Set s(1, 0600), readable(1, 0644);
  semid_ds ds = s.Stat();
  ds.sem_perm.mode = 0604;
  ds.sem_perm.uid = 12;
  EXPECT_EQ(semctl(s.id(), 0, IPC_SET, Argument{.buf = &ds}), 0);
  EXPECT_EQ(s.Stat().sem_perm.mode, 0604);
  EXPECT_EQ(s.Stat().sem_perm.uid, 12u);
  const int a = s.id(), b = readable.id();
  Passes(AsUser(12, [=] {
    IN_CHILD(semctl(a, 0, SETVAL, Argument{.val = 3}) == 0);  // the owner, though not the maker
    return 0;
  }));
  Passes(AsUser(4711, [=] {
    sembuf add{0, 1, 0}, zero{0, 0, IPC_NOWAIT};
    IN_CHILD_FAILS(semop(b, &add, 1), EACCES);
    IN_CHILD(semop(b, &zero, 1) == 0);
    IN_CHILD(semctl(b, 0, GETVAL) == 0);
    IN_CHILD_FAILS(semctl(b, 0, SETVAL, Argument{.val = 3}), EACCES);
    unsigned short value = 0;
    IN_CHILD_FAILS(semctl(b, 0, SETALL, Argument{.array = &value}), EACCES);
    IN_CHILD_FAILS(semctl(b, 0, IPC_RMID), EPERM);
    semid_ds mine{};
    IN_CHILD_FAILS(semctl(b, 0, IPC_SET, Argument{.buf = &mine}), EPERM);
    return 0;
  }));
}

TEST(Semctl, InfoAndIndexes) {
  const Set s(7, 0600);
  seminfo limits{}, usage{};
  const int highest = semctl(0, 0, IPC_INFO, Argument{.info = &limits});
  ASSERT_GE(highest, 0);
  EXPECT_EQ(limits.semvmx, 32767);
  EXPECT_EQ(limits.semaem, 32767);
  EXPECT_EQ(limits.semusz, 20);
  EXPECT_EQ(limits.semume, 500);
  EXPECT_EQ(limits.semmap, 1024000000);
  char text[80];
  snprintf(text, sizeof(text), "%d\t%d\t%d\t%d\n", limits.semmsl, limits.semmns, limits.semopm, limits.semmni);
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/sem"), text);
  EXPECT_EQ(semctl(0, 0, SEM_INFO, Argument{.info = &usage}), highest);
  EXPECT_GE(usage.semusz, 1);
  EXPECT_GE(usage.semaem, 7);
  const int index = s.id() & 0x7fff;
  semid_ds ds{};
  EXPECT_EQ(semctl(index, 0, SEM_STAT, Argument{.buf = &ds}), s.id());
  EXPECT_EQ(ds.sem_nsems, 7u);
  Passes(AsUser(4711, [=] {
    semid_ds other{};
    IN_CHILD_FAILS(semctl(index, 0, SEM_STAT, Argument{.buf = &other}), EACCES);
    IN_CHILD(semctl(index, 0, kSemStatAny, Argument{.buf = &other}) >= 0);
    return 0;
  }));
  const std::vector<std::string> line = test::ProcLine("sem", s.id());
  ASSERT_EQ(line.size(), 10u);
  EXPECT_EQ(line[2], "600");
  EXPECT_EQ(line[3], "7");
}

TEST(SemUndo, AppliedAtExitAndAfterKill) {
  const Set s;
  s.Assign(5);
  Passes(InChild([&] {
    IN_CHILD(s.Op(-2, SEM_UNDO) == 0);
    IN_CHILD(s.Op(1, SEM_UNDO) == 0);
    IN_CHILD(s.Op(-1) == 0);  // not undone
    IN_CHILD(s.Value() == 3);
    return 0;
  }));
  EXPECT_EQ(s.Value(), 4);
  const pid_t child = Spawn([&] {
    s.Op(-4, SEM_UNDO);
    pause();
    return 0;
  });
  EXPECT_TRUE(Becomes([&] { return s.Value() == 0; }));
  const pid_t waiter = Spawn([&] { return s.Op(-3); });
  EXPECT_TRUE(Becomes([&] { return s.Waiting() == 1; }));
  kill(child, SIGKILL);
  EXPECT_EQ(StatusOf(child), 1000 + SIGKILL);
  Passes(StatusOf(waiter));
  EXPECT_EQ(s.Value(), 1);
}

TEST(SemUndo, StaysWithinTheRange) {
  const Set s;
  Passes(InChild([&] { return s.Op(3, SEM_UNDO); }));
  EXPECT_EQ(s.Value(), 0);
  Passes(InChild([&] {
    IN_CHILD(s.Op(3, SEM_UNDO) == 0);
    IN_CHILD(s.Op(-2) == 0);
    return 0;
  }));
  EXPECT_EQ(s.Value(), 0);  // not negative
  Passes(InChild([&] {
    for (int i = 0; i < 2; ++i) {
      IN_CHILD(s.Op(16384, SEM_UNDO) == 0);
      IN_CHILD(s.Op(-16384) == 0);
    }
    IN_CHILD_FAILS(s.Op(1, SEM_UNDO), ERANGE);  // -32769
    return 0;
  }));
  EXPECT_EQ(s.Value(), 0);
}

TEST(SemUndo, SetvalForgets) {
  const Set s(2);
  const auto [in, out] = test::MakePipe();
  const pid_t child = Spawn([&, read_end = in.get(), write_end = out.get()] {
    close(write_end);
    IN_CHILD(s.Ops({{0, 2, SEM_UNDO}, {1, 2, SEM_UNDO}}) == 0);
    char c = 0;
    (void)!read(read_end, &c, 1);
    return 0;
  });
  EXPECT_TRUE(Becomes([&] { return s.Value() == 2; }));
  EXPECT_EQ(s.Assign(7), 0);
  EXPECT_EQ(write(out.get(), "x", 1), 1);
  Passes(StatusOf(child));
  EXPECT_EQ(s.Value(0), 7);
  EXPECT_EQ(s.Value(1), 0);
}

TEST(SemUndo, BelongsToTheProcessNotToTheThread) {
  const Set s;
  Passes(InChild([&] {
    std::thread([&] { s.Op(3, SEM_UNDO); }).join();
    IN_CHILD(s.Value() == 3);  // the thread has ended, its process has not
    return 0;
  }));
  EXPECT_EQ(s.Value(), 0);
}

TEST(SemUndo, IsNotInheritedAndSurvivesExec) {
  const Set s;
  Passes(InChild([&] {
    IN_CHILD(s.Op(2, SEM_UNDO) == 0);
    IN_CHILD(InChild([] { return 0; }) == 0);
    IN_CHILD(s.Value() == 2);  // the child's end undid nothing
    return 0;
  }));
  EXPECT_EQ(s.Value(), 0);
  const auto [in, out] = test::MakePipe();
  const pid_t child = fork();
  if (child == 0) {
    dup2(in.get(), 0);
    close(out.get());
    s.Op(1, SEM_UNDO);
    execl("/bin/cat", "cat", nullptr);
    _exit(1);
  }
  EXPECT_TRUE(Becomes([&] { return s.Value() == 1; }));
  test::SleepMs(100);
  EXPECT_EQ(s.Value(), 1);
  kill(child, SIGKILL);
  StatusOf(child);
  EXPECT_TRUE(Becomes([&] { return s.Value() == 0; }));
}

TEST(SemUndo, CloneSysvsemSharesAndUnshareApplies) {
  const Set s;
  alignas(16) static char stack[65536];
  const int id = s.id();
  static int shared_id;
  shared_id = id;
  Passes(InChild([&] {
    const pid_t child = clone(
        [](void*) {
          sembuf op{0, 2, SEM_UNDO};
          return semop(shared_id, &op, 1);
        },
        stack + sizeof(stack), CLONE_SYSVSEM | SIGCHLD, nullptr);
    IN_CHILD(child > 0);
    IN_CHILD(StatusOf(child) == 0);
    IN_CHILD(s.Value() == 2);  // we still share the list
    IN_CHILD(unshare(CLONE_SYSVSEM) == 0);
    IN_CHILD(s.Value() == 0);
    return 0;
  }));
}

TEST(SemUndo, RemovedSetsAreForgotten) {
  Passes(InChild([] {
    for (int i = 0; i < 200; ++i) {
      Set s;
      IN_CHILD(s.Op(1, SEM_UNDO) == 0);
    }
    return 0;
  }));
}

// Processes that transfer amounts between semaphores: the sum stays, and everybody gets on.
TEST(Sem, ManyProcessesKeepTheSum) {
  const Set s(4);
  for (int i = 0; i < 4; ++i) s.Assign(3, i);
  constexpr int kProcesses = 8, kRounds = 100;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(Spawn([&, p] {
      for (int round = 0; round < kRounds; ++round) {
        const auto from = static_cast<unsigned short>((p + round) % 4), to = static_cast<unsigned short>((p + round * 3 + 1) % 4);
        IN_CHILD(s.Ops({{from, -1, SEM_UNDO}, {to, 1, SEM_UNDO}}) == 0 || errno == ERANGE);
        IN_CHILD(s.Ops({{to, -1, SEM_UNDO}, {from, 1, SEM_UNDO}}) == 0);
      }
      return 0;
    }));
  }
  for (const pid_t child : children) Passes(StatusOf(child));
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += s.Value(i);
  EXPECT_EQ(sum, 12);
}

// A lock made of a semaphore, whose holders are killed now and then.
TEST(Sem, AMutexOutlivesItsHolders) {
  const Set s;
  s.Assign(1);
  auto* const inside = static_cast<std::atomic<int>*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::vector<pid_t> children;
  for (int p = 0; p < 12; ++p) {
    children.push_back(Spawn([&, p] {
      for (int round = 0; round < 30; ++round) {
        IN_CHILD(s.Op(-1, SEM_UNDO) == 0);
        IN_CHILD(inside->fetch_add(1) == 0);
        inside->fetch_sub(1);
        if (p % 3 == 0 && round == 10) raise(SIGKILL);
        IN_CHILD(s.Op(1, SEM_UNDO) == 0);
      }
      return 0;
    }));
  }
  for (size_t p = 0; p < children.size(); ++p) EXPECT_EQ(StatusOf(children[p]), p % 3 == 0 ? 1000 + SIGKILL : 0);
  EXPECT_EQ(s.Value(), 1);
  munmap(inside, 4096);
}

}  // namespace
