// Identities, capabilities, the prctls around them, and resource limits. Run as root: natively in a child of its own for each case.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

// Runs `body` in a child; 0 is success, another number says which step failed.
int RunChild(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
class AsRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "must be root";
  }
};
using Cred = AsRoot;
using Capabilities = AsRoot;
using Prctl = AsRoot;
using Limits = AsRoot;
using Sched = AsRoot;

struct Caps {
  uint64_t effective = 0, permitted = 0, inheritable = 0;
};
Caps Get(pid_t pid = 0) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, pid};
  __user_cap_data_struct data[2] = {};
  EXPECT_EQ(syscall(SYS_capget, &header, data), 0);
  return {data[0].effective | uint64_t{data[1].effective} << 32, data[0].permitted | uint64_t{data[1].permitted} << 32,
          data[0].inheritable | uint64_t{data[1].inheritable} << 32};
}
int Set(const Caps& caps) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{static_cast<uint32_t>(caps.effective), static_cast<uint32_t>(caps.permitted), static_cast<uint32_t>(caps.inheritable)},
                                    {static_cast<uint32_t>(caps.effective >> 32), static_cast<uint32_t>(caps.permitted >> 32),
                                     static_cast<uint32_t>(caps.inheritable >> 32)}};
  return static_cast<int>(syscall(SYS_capset, &header, data));
}
constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }
bool Ids(uid_t r, uid_t e, uid_t s) {
  uid_t ruid, euid, suid;
  return getresuid(&ruid, &euid, &suid) == 0 && ruid == r && euid == e && suid == s;
}
bool Gids(gid_t r, gid_t e, gid_t s) {
  gid_t rgid, egid, sgid;
  return getresgid(&rgid, &egid, &sgid) == 0 && rgid == r && egid == e && sgid == s;
}
bool Fails(long result, int error) { return result == -1 && errno == error; }

TEST_F(Cred, SetuidOfRootChangesAllAndIsForGood) {
  EXPECT_EQ(RunChild([] {
              if (setuid(1000) != 0 || !Ids(1000, 1000, 1000)) return 1;
              if (!Fails(setuid(0), EPERM)) return 2;
              if (!Fails(seteuid(0), EPERM)) return 3;
              if (setuid(1000) != 0) return 4;
              return Get().permitted == 0 && Get().effective == 0 ? 0 : 5;
            }),
            0);
}

TEST_F(Cred, SeteuidIsTemporary) {
  EXPECT_EQ(RunChild([] {
              const uint64_t full = Get().permitted;
              if (seteuid(1000) != 0 || !Ids(0, 1000, 0)) return 1;
              if (Get().effective != 0 || Get().permitted != full) return 2;
              if (!Fails(setuid(2000), EPERM)) return 3;
              if (seteuid(0) != 0 || !Ids(0, 0, 0)) return 4;
              return Get().effective == full ? 0 : 5;
            }),
            0);
}

TEST_F(Cred, SetreuidMovesTheSavedId) {
  EXPECT_EQ(RunChild([] {
              if (setreuid(1000, 2000) != 0 || !Ids(1000, 2000, 2000)) return 1;
              if (setreuid(static_cast<uid_t>(-1), 1000) != 0 || !Ids(1000, 1000, 2000)) return 2;
              if (seteuid(2000) != 0) return 3;
              if (!Fails(setreuid(3000, static_cast<uid_t>(-1)), EPERM)) return 4;
              return Ids(1000, 2000, 2000) ? 0 : 5;
            }),
            0);
}

TEST_F(Cred, SetresuidSetsEach) {
  EXPECT_EQ(RunChild([] {
              if (setresuid(1, 2, 3) != 0 || !Ids(1, 2, 3)) return 1;
              if (setresuid(static_cast<uid_t>(-1), 3, static_cast<uid_t>(-1)) != 0 || !Ids(1, 3, 3)) return 2;
              return Fails(setresuid(4, 4, 4), EPERM) ? 0 : 3;
            }),
            0);
}

TEST_F(Cred, GroupsLikewise) {
  EXPECT_EQ(RunChild([] {
              if (setresgid(5, 6, 7) != 0 || !Gids(5, 6, 7)) return 1;
              if (setregid(static_cast<gid_t>(-1), 5) != 0 || !Gids(5, 5, 7)) return 2;
              if (setgid(9) != 0 || !Gids(9, 9, 9)) return 3;
              if (setuid(1000) != 0) return 4;
              return Fails(setgid(10), EPERM) && setgid(9) == 0 ? 0 : 5;
            }),
            0);
}

TEST_F(Cred, SupplementaryGroups) {
  EXPECT_EQ(RunChild([] {
              const gid_t groups[] = {30, 10, 20};
              if (setgroups(3, groups) != 0) return 1;
              if (getgroups(0, nullptr) != 3) return 2;
              gid_t got[8] = {};
              if (getgroups(8, got) != 3) return 3;
              for (const gid_t g : {10u, 20u, 30u}) {
                if (g != got[0] && g != got[1] && g != got[2]) return 4;
              }
              if (!Fails(getgroups(2, got), EINVAL)) return 5;
              if (!Fails(syscall(SYS_getgroups, -1, got), EINVAL)) return 6;
              if (!Fails(syscall(SYS_setgroups, 65537, got), EINVAL)) return 7;
              if (setgroups(0, nullptr) != 0 || getgroups(0, nullptr) != 0) return 8;
              if (setuid(1000) != 0) return 9;
              return Fails(setgroups(1, groups), EPERM) ? 0 : 10;
            }),
            0);
}

TEST_F(Cred, FsuidNeverFailsAndDecidesAboutFiles) {
  char path[] = "/tmp/cred_test_XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_EQ(fchmod(fd, 0600), 0);
  EXPECT_EQ(RunChild([&] {
              if (setfsuid(1000) != 0) return 1;
              if (setfsuid(static_cast<uid_t>(-1)) != 1000) return 2;
              if (!Fails(open(path, O_RDONLY), EACCES)) return 3;
              if (setfsuid(0) != 1000) return 4;
              return open(path, O_RDONLY) >= 0 ? 0 : 5;
            }),
            0);
  close(fd);
  unlink(path);
}

TEST_F(Cred, SetuidProgramsRunAsTheirOwner) {
  char path[] = "/tmp/cred_test_XXXXXX";
  close(mkstemp(path));
  ASSERT_EQ(std::system((std::string("cp /usr/bin/id ") + path).c_str()), 0);
  ASSERT_EQ(chown(path, 1234, 5678), 0);
  ASSERT_EQ(chmod(path, 06755), 0);
  for (const bool no_new_privs : {false, true}) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    EXPECT_EQ(RunChild([&] {
                if (no_new_privs) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                setgroups(0, nullptr);
                if (setgid(1000) != 0 || setuid(1000) != 0) return 1;
                dup2(fds[1], 1);
                execl(path, "id", nullptr);
                return 2;
              }),
              0);
    close(fds[1]);
    char text[256] = {};
    EXPECT_GT(read(fds[0], text, sizeof(text) - 1), 0);
    const std::string got = text;
    EXPECT_NE(got.find("uid=1000"), std::string::npos) << got;
    EXPECT_EQ(got.find("euid=1234") != std::string::npos, !no_new_privs) << got;
    EXPECT_EQ(got.find("egid=5678") != std::string::npos, !no_new_privs) << got;
    close(fds[0]);
  }
  unlink(path);
}

TEST_F(Cred, KillIsAllowedByIds) {
  const pid_t target = fork();
  if (target == 0) {
    [[maybe_unused]] const int done = setresuid(1000, 1000, 2000);
    while (true) pause();
  }
  usleep(50'000);
  const auto allowed = [&](uid_t r, uid_t e) {
    return RunChild([&] {
      if (setresuid(r, e, r) != 0) return 1;
      return kill(target, 0) == 0 ? 0 : errno;
    });
  };
  EXPECT_EQ(allowed(1000, 3000), 0);
  EXPECT_EQ(allowed(3000, 1000), 0);
  EXPECT_EQ(allowed(2000, 3000), 0);
  EXPECT_EQ(allowed(3000, 3000), EPERM);
  kill(target, SIGKILL);
  waitpid(target, nullptr, 0);
}

// --- capabilities

TEST_F(Capabilities, GetAndSet) {
  EXPECT_EQ(RunChild([] {
              const Caps full = Get();
              if ((full.effective & Bit(CAP_CHOWN)) == 0) return 1;
              Caps less = full;
              less.effective &= ~Bit(CAP_SETUID);
              if (Set(less) != 0 || Get().effective != less.effective) return 2;
              if (!Fails(setuid(1000), EPERM)) return 3;
              if (Set(full) != 0) return 4;
              less = full;
              less.permitted &= ~Bit(CAP_CHOWN), less.effective &= ~Bit(CAP_CHOWN);
              if (Set(less) != 0) return 5;
              if (!Fails(Set(full), EPERM)) return 6;
              Caps odd = less;
              odd.effective |= Bit(CAP_CHOWN);
              return Fails(Set(odd), EPERM) ? 0 : 7;
            }),
            0);
}

TEST_F(Capabilities, VersionsAndArguments) {
  __user_cap_header_struct header{0x1234, 0};
  __user_cap_data_struct data[2] = {};
  EXPECT_EQ(syscall(SYS_capget, &header, data), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(header.version, static_cast<uint32_t>(_LINUX_CAPABILITY_VERSION_3));
  header = {0x1234, 0};
  EXPECT_EQ(syscall(SYS_capget, &header, nullptr), 0);
  header = {_LINUX_CAPABILITY_VERSION_3, 999'999};
  EXPECT_EQ(syscall(SYS_capget, &header, data), -1);
  EXPECT_EQ(errno, ESRCH);
  header = {_LINUX_CAPABILITY_VERSION_3, 999'999};
  EXPECT_EQ(syscall(SYS_capset, &header, data), -1);
  EXPECT_EQ(errno, EPERM);
  header = {_LINUX_CAPABILITY_VERSION_1, 0};
  EXPECT_EQ(syscall(SYS_capget, &header, data), 0);
}

TEST_F(Capabilities, KeepcapsKeepsThePermittedSet) {
  EXPECT_EQ(RunChild([] {
              const uint64_t full = Get().permitted;
              if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || prctl(PR_GET_KEEPCAPS) != 1) return 1;
              if (setuid(1000) != 0) return 2;
              if (Get().permitted != full || Get().effective != 0) return 3;
              Caps back = Get();
              back.effective = Bit(CAP_SETUID);
              if (Set(back) != 0) return 4;
              return setuid(2000) == 0 ? 0 : 5;
            }),
            0);
  EXPECT_TRUE(Fails(prctl(PR_SET_KEEPCAPS, 2, 0, 0, 0), EINVAL));
}

TEST_F(Capabilities, BoundingSetLimitsExec) {
  EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0), 1);
  EXPECT_TRUE(Fails(prctl(PR_CAPBSET_READ, 63, 0, 0, 0), EINVAL));
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0) != 0 || prctl(PR_CAPBSET_READ, CAP_CHOWN, 0, 0, 0) != 0) return 1;
              if ((Get().permitted & Bit(CAP_CHOWN)) == 0) return 2;
              execl("/bin/sh", "sh", "-c", "set -- $(grep CapEff /proc/self/status); [ $((0x$2 & 1)) = 0 ]", nullptr);
              return 3;
            }),
            0);
}

// Root has all again after execve(2), but not what no_new_privs has it do without.
TEST_F(Capabilities, NoNewPrivsGivesNothingBack) {
  for (const bool no_new_privs : {false, true}) {
    EXPECT_EQ(RunChild([&] {
                Caps caps = Get();
                caps.permitted &= ~Bit(CAP_CHOWN);
                caps.effective &= ~Bit(CAP_CHOWN);
                if (Set(caps) != 0) return 1;
                if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 2;
                execl("/bin/sh", "sh", "-c", "set -- $(grep CapPrm /proc/self/status); [ $((0x$2 & 1)) = $0 ]", no_new_privs ? "0" : "1", nullptr);
                return 3;
              }),
              0)
        << no_new_privs;
  }
}

TEST_F(Capabilities, NoNewPrivsLetsWhoActsForAnotherDoSo) {
  for (const bool no_new_privs : {false, true}) {
    EXPECT_EQ(RunChild([&] {
                if (setresuid(0, 1000, 1000) != 0) return 1;
                if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 2;
                execl("/bin/grep", "grep", "-q", "^Uid:.0.1000.1000.1000$", "/proc/self/status", nullptr);
                return 3;
              }),
              0)
        << no_new_privs;
  }
}

TEST_F(Capabilities, AmbientSurvivesExec) {
  EXPECT_EQ(RunChild([] {
              Caps caps = Get();
              caps.inheritable |= Bit(CAP_NET_BIND_SERVICE);
              if (!Fails(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0), EPERM)) return 1;
              if (Set(caps) != 0) return 2;
              if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setuid(1000) != 0) return 3;
              if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) != 0) return 4;
              if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) != 1) return 5;
              execl("/bin/sh", "sh", "-c", "set -- $(grep CapEff /proc/self/status); [ $((0x$2)) = 1024 ]", nullptr);
              return 6;
            }),
            0);
}

TEST_F(Capabilities, SecurebitsLock) {
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_GET_SECUREBITS) != 0) return 1;
              if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED, 0, 0, 0) != 0) return 2;
              if (!Fails(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0), EPERM)) return 3;
              const uint64_t full = Get().effective;
              if (setuid(1000) != 0) return 4;
              return Get().effective == full ? 0 : 5;
            }),
            0);
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0) != 0) return 1;
              execl("/bin/sh", "sh", "-c", "set -- $(grep CapEff /proc/self/status); [ $((0x$2)) = 0 ]", nullptr);
              return 6;
            }),
            0);
}

TEST_F(Prctl, NoNewPrivsIsForGoodAndInherited) {
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return 1;
              if (!Fails(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL)) return 2;
              if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 3;
              return RunChild([] { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 4; });
            }),
            0);
}

TEST_F(Prctl, DumpableNamesAndTimerSlack) {
  EXPECT_EQ(RunChild([] {
              if (prctl(PR_GET_DUMPABLE) != 1) return 1;
              if (!Fails(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0), EINVAL)) return 2;
              if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_DUMPABLE) != 0) return 3;
              if (prctl(PR_SET_NAME, "a name that is too long", 0, 0, 0) != 0) return 4;
              char name[16] = {};
              if (prctl(PR_GET_NAME, name, 0, 0, 0) != 0 || strcmp(name, "a name that is ") != 0) return 5;
              if (prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0) != 0 || prctl(PR_GET_TIMERSLACK) != 1000) return 6;
              return Fails(prctl(123456, 0, 0, 0, 0), EINVAL) ? 0 : 7;
            }),
            0);
}

TEST_F(Prctl, AnonymousMappingsMayBeNamed) {
  auto* page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const int result = prctl(0x53564d41 /* PR_SET_VMA */, 0, page, 4096, "a name");
  if (result != 0) {
    EXPECT_EQ(errno, EINVAL);
  }
  EXPECT_TRUE(Fails(prctl(0x53564d41, 7, page, 4096, "a name"), EINVAL));
  munmap(page, 4096);
}

// --- limits

TEST_F(Limits, SoftAndHard) {
  EXPECT_EQ(RunChild([] {
              rlimit limit{100, 200};
              if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
              rlimit got{};
              if (getrlimit(RLIMIT_NOFILE, &got) != 0 || got.rlim_cur != 100 || got.rlim_max != 200) return 2;
              limit = {300, 200};
              if (!Fails(setrlimit(RLIMIT_NOFILE, &limit), EINVAL)) return 3;
              if (setuid(1000) != 0) return 4;
              limit = {100, 300};
              if (!Fails(setrlimit(RLIMIT_NOFILE, &limit), EPERM)) return 5;
              limit = {150, 200};
              if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 6;
              return Fails(syscall(SYS_getrlimit, 99, &got), EINVAL) ? 0 : 7;
            }),
            0);
}

TEST_F(Limits, DescriptorsEndAtNofile) {
  EXPECT_EQ(RunChild([] {
              const rlimit limit{20, 20};
              setrlimit(RLIMIT_NOFILE, &limit);
              int last = -1;
              for (int fd = 0; (fd = dup(0)) >= 0;) last = fd;
              if (errno != EMFILE || last != 19) return 1;
              return Fails(dup2(0, 20), EBADF) ? 0 : 2;
            }),
            0);
}

TEST_F(Limits, FilesEndAtFsizeWithASignal) {
  char path[] = "/tmp/cred_test_XXXXXX";
  const int fd = mkstemp(path);
  unlink(path);
  EXPECT_EQ(RunChild([&] {
              signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{4096, 4096};
              setrlimit(RLIMIT_FSIZE, &limit);
              char block[8192] = {};
              if (write(fd, block, sizeof(block)) != 4096) return 1;
              if (!Fails(write(fd, block, 1), EFBIG)) return 2;
              signal(SIGXFSZ, SIG_DFL);
              [[maybe_unused]] const ssize_t n = write(fd, block, 1);
              return 3;
            }),
            1000 + SIGXFSZ);
  close(fd);
}

TEST_F(Limits, ProcessorTimeEndsWithASignal) {
  EXPECT_EQ(RunChild([] {
              const rlimit none{0, 0};
              setrlimit(RLIMIT_CORE, &none);
              const rlimit limit{1, 2};
              setrlimit(RLIMIT_CPU, &limit);
              volatile uint64_t spins = 0;
              while (true) spins = spins + 1;
              return 0;
            }),
            1000 + SIGXCPU);
}

TEST_F(Limits, NprocCountsTheUsersTasks) {
  EXPECT_EQ(RunChild([] {
              const rlimit limit{1, 1};
              setrlimit(RLIMIT_NPROC, &limit);
              if (setuid(54321) != 0) return 1;
              const pid_t pid = fork();
              if (pid == 0) _exit(0);
              return pid == -1 && errno == EAGAIN ? 0 : 2;
            }),
            0);
}

TEST_F(Limits, PrlimitOfAnother) {
  const pid_t pid = fork();
  if (pid == 0) {
    while (true) pause();
  }
  const rlimit limit{77, 88};
  rlimit old{}, now{};
  EXPECT_EQ(prlimit(pid, RLIMIT_NOFILE, &limit, &old), 0);
  EXPECT_EQ(prlimit(pid, RLIMIT_NOFILE, nullptr, &now), 0);
  EXPECT_EQ(now.rlim_cur, 77u);
  EXPECT_EQ(now.rlim_max, 88u);
  EXPECT_EQ(RunChild([&] {
              if (setuid(1000) != 0) return 1;
              return Fails(prlimit(pid, RLIMIT_NOFILE, nullptr, &now), EPERM) ? 0 : 2;
            }),
            0);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_TRUE(Fails(prlimit(pid, RLIMIT_NOFILE, nullptr, &now), ESRCH));
}

// --- scheduling

TEST_F(Sched, AffinityIsRememberedAndInherited) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  EXPECT_EQ(RunChild([&] {
              int first = 0;
              while (!CPU_ISSET(static_cast<size_t>(first), &all)) ++first;
              cpu_set_t one;
              CPU_ZERO(&one);
              CPU_SET(static_cast<size_t>(first), &one);
              if (sched_setaffinity(0, sizeof(one), &one) != 0) return 1;
              cpu_set_t got;
              if (sched_getaffinity(0, sizeof(got), &got) != 0 || !CPU_EQUAL(&one, &got)) return 2;
              if (sysconf(_SC_NPROCESSORS_ONLN) < 1) return 3;
              const int child = RunChild([&] {
                cpu_set_t mine;
                return sched_getaffinity(0, sizeof(mine), &mine) == 0 && CPU_EQUAL(&one, &mine) ? 0 : 4;
              });
              if (child != 0) return child;
              int in_thread = 0;
              std::thread([&] {
                cpu_set_t mine;
                in_thread = sched_getaffinity(0, sizeof(mine), &mine) == 0 && CPU_EQUAL(&one, &mine) ? 0 : 5;
              }).join();
              if (in_thread != 0) return in_thread;
              CPU_ZERO(&one);
              return Fails(sched_setaffinity(0, sizeof(one), &one), EINVAL) ? 0 : 6;
            }),
            0);
}

TEST_F(Sched, PolicyIsRememberedAndInherited) {
  EXPECT_EQ(RunChild([] {
              if (sched_getscheduler(0) != SCHED_OTHER) return 1;
              const sched_param none{0};
              if (sched_setscheduler(0, SCHED_BATCH, &none) != 0 || sched_getscheduler(0) != SCHED_BATCH) return 2;
              if (RunChild([] { return sched_getscheduler(0); }) != SCHED_BATCH) return 3;
              if (sched_setscheduler(0, SCHED_IDLE, &none) != 0 || sched_getscheduler(0) != SCHED_IDLE) return 4;
              if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none) != 0) return 5;
              if (sched_getscheduler(0) != (SCHED_OTHER | SCHED_RESET_ON_FORK)) return 6;
              const sched_param bad{5};
              if (!Fails(sched_setscheduler(0, SCHED_OTHER, &bad), EINVAL)) return 7;
              return Fails(sched_setscheduler(0, 77, &none), EINVAL) ? 0 : 8;
            }),
            0);
}

TEST_F(Sched, NiceIsRememberedAndInherited) {
  EXPECT_EQ(RunChild([] {
              if (setpriority(PRIO_PROCESS, 0, 5) != 0 || getpriority(PRIO_PROCESS, 0) != 5) return 1;
              if (RunChild([] { return getpriority(PRIO_PROCESS, 0); }) != 5) return 2;
              if (setuid(1000) != 0) return 3;
              if (!Fails(setpriority(PRIO_PROCESS, 0, 1), EACCES)) return 4;
              return nice(2) == 7 ? 0 : 5;
            }),
            0);
}

}  // namespace
