// Ways out of a sandbox, tried from inside by a plain Linux program (run-escapes prepares what lies outside and looks whether it changed).
// Environment: HOST_PORT, a TCP port on which the host listens; HOST_SOCKET, a UNIX socket's path there, HOST_ABSTRACT an abstract one's name.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr char kSecret[] = "outside-secret";  // what run-escapes writes into files outside

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Whether a file of that name, looked up from where we are, is one of those outside.
bool Leaks(const std::string& path) { return Read(path).find(kSecret) != std::string::npos; }

std::string ReadLink(const std::string& path) {
  char target[4096];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof(target));
  return n < 0 ? "" : std::string(target, static_cast<size_t>(n));
}

// Runs `body` in a child; true when it returned true.
template <class Body>
bool InChild(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Paths, SymbolicLinksThatPointOutsideStayInside) {
  for (const char* path : {"/links/absolute", "/links/up", "/links/dir/secret", "/links/updir/secret", "/links/proc/secret", "/links/loop"}) {
    EXPECT_FALSE(Leaks(path)) << path;
  }
  struct stat info {};
  EXPECT_EQ(::lstat("/links/absolute", &info), 0);  // they are there
}

TEST(Paths, DotDotEndsAtTheRoot) {
  struct stat root {}, above {};
  ASSERT_EQ(::stat("/", &root), 0);
  ASSERT_EQ(::stat("/../../..", &above), 0);
  EXPECT_EQ(root.st_ino, above.st_ino);
  const int fd = ::open("/", O_PATH | O_DIRECTORY);
  EXPECT_LT(::openat(fd, "../secret", O_RDONLY), 0);
  EXPECT_LT(::openat(fd, "../../../../secret", O_RDONLY), 0);
  ::close(fd);
}

TEST(Paths, AboveABindIsTheSandboxAndNotTheHost) {
  const int fd = ::open("/bound", O_PATH | O_DIRECTORY);
  ASSERT_GE(fd, 0);
  EXPECT_LT(::openat(fd, "../secret", O_RDONLY), 0);
  EXPECT_LT(::openat(fd, "../neighbour/secret", O_RDONLY), 0);
  ::close(fd);
  EXPECT_TRUE(InChild([] {
    if (::chdir("/bound/deep/er") != 0) return false;
    return !Leaks("../../../secret") && !Leaks("../../../neighbour/secret") && !Leaks("../link-up/secret") && !Leaks("../../link-absolute");
  }));
}

TEST(Paths, ProcLeadsNowhereElse) {
  for (const char* path : {"/proc/self/root/../secret", "/proc/1/root/../secret", "/proc/self/cwd/../../../../secret", "/proc/1/cwd/../../../secret",
                           "/proc/self/fd/0/../secret", "/proc/self/task/1/root/../../secret", "/proc/thread-self/root/../secret"}) {
    EXPECT_FALSE(Leaks(path)) << path;
  }
  const int fd = ::open("/bound", O_PATH | O_DIRECTORY);
  const std::string through = "/proc/self/fd/" + std::to_string(fd);
  EXPECT_FALSE(Leaks(through + "/../secret"));
  EXPECT_FALSE(Leaks(through + "/../neighbour/secret"));
  ::close(fd);
}

TEST(Paths, TheOldWayOutOfAChrootEndsAtTheRoot) {
  EXPECT_TRUE(InChild([] {
    ::mkdir("/tmp/jail", 0755);
    const int before = ::open("/", O_RDONLY | O_DIRECTORY);
    if (::chroot("/tmp/jail") != 0 || ::fchdir(before) != 0) return true;  // not allowed is well enough
    for (int i = 0; i < 64; ++i) (void)!::chdir("..");
    if (::chroot(".") != 0) return true;
    return !Leaks("/secret") && !Leaks("secret") && ::access("/links/absolute", F_OK) != 1;
  }));
}

TEST(Paths, ADirectoryThatIsMovedWhileOneClimbsOutOfIt) {
  ASSERT_TRUE(::mkdir("/tmp/a", 0755) == 0 || errno == EEXIST);
  ASSERT_TRUE(::mkdir("/tmp/a/b", 0755) == 0 || errno == EEXIST);
  ASSERT_TRUE(::mkdir("/tmp/a/b/c", 0755) == 0 || errno == EEXIST);
  const pid_t mover = ::fork();
  if (mover == 0) {
    for (;;) {
      ::rename("/tmp/a/b", "/tmp/b");
      ::rename("/tmp/b", "/tmp/a/b");
    }
  }
  for (int i = 0; i < 3000; ++i) {
    const int fd = ::open("/tmp/a/b/c", O_PATH | O_DIRECTORY);
    if (fd < 0) continue;
    const int out = ::openat(fd, "../../../../../../../../secret", O_RDONLY);
    EXPECT_LT(out, 0);
    ::close(fd);
  }
  ::kill(mover, SIGKILL);
  ::waitpid(mover, nullptr, 0);
}

TEST(Files, WhatIsReadOnlyStaysAsItIs) {
  const int fd = ::open("/readonly/file", O_RDONLY);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  void* window = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(window, MAP_FAILED);
  EXPECT_NE(::mprotect(window, 4096, PROT_READ | PROT_WRITE), 0);
  EXPECT_LT(::open("/readonly/file", O_RDWR), 0);
  EXPECT_LT(::open("/readonly/file", O_RDONLY | O_TRUNC), 0);
  EXPECT_LT(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR), 0);
  EXPECT_NE(::ftruncate(fd, 0), 0);
  EXPECT_LT(::write(fd, "x", 1), 0);
  EXPECT_LT(::pwrite(fd, "x", 1, 0), 0);
  EXPECT_NE(::fallocate(fd, 0, 0, 10), 0);
  EXPECT_NE(::fchmod(fd, 0777), 0);
  EXPECT_NE(::unlink("/readonly/file"), 0);
  EXPECT_NE(::rename("/readonly/file", "/readonly/other"), 0);
  EXPECT_LT(::open("/readonly/new", O_CREAT | O_WRONLY, 0644), 0);
  EXPECT_NE(::link("/readonly/file", "/readonly/link"), 0);
  EXPECT_NE(::mkdir("/readonly/dir", 0755), 0);
  ::munmap(window, 4096);
  ::close(fd);
}

// run-escapes looks afterwards: nothing of this may be on the host.
TEST(Files, ChangesOfTheRootStayInTheOverlay) {
  std::ofstream("/bait") << "changed inside";
  std::ofstream("/new-file") << "made inside";
  const int fd = ::open("/mapped", O_RDWR);
  ASSERT_GE(fd, 0);
  void* window = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(window, MAP_FAILED);
  static_cast<char*>(window)[0] = 'X';
  ::msync(window, 4096, MS_SYNC);
  ::munmap(window, 4096);
  ::close(fd);
  ::unlink("/victim");
  EXPECT_NE(::access("/victim", F_OK), 0);
  EXPECT_EQ(Read("/bait"), "changed inside");
}

TEST(Files, TheProgramsOwnFileIsNotTheRuntimes) {
  const std::string exe = ReadLink("/proc/self/exe");
  EXPECT_EQ(exe.find("sentry-run"), std::string::npos) << exe;
  EXPECT_EQ(exe.find("runsc"), std::string::npos) << exe;
  const int fd = ::open("/proc/self/exe", O_WRONLY);  // as in CVE-2019-5736; where it may be opened run-escapes looks at the host's file
  if (fd < 0) return;
  EXPECT_EQ(::write(fd, "spoilt", 6), 6);
  ::close(fd);
}

TEST(Files, DevicesOfTheHostAreOutOfReach) {
  for (const auto& [type, major, minor] : std::vector<std::tuple<mode_t, unsigned, unsigned>>{
           {S_IFBLK, 254, 0}, {S_IFBLK, 8, 0}, {S_IFBLK, 7, 0}, {S_IFCHR, 1, 1}, {S_IFCHR, 1, 2}, {S_IFCHR, 10, 232}, {S_IFCHR, 10, 237}}) {
    ::unlink("/tmp/device");
    if (::mknod("/tmp/device", type | 0666, makedev(major, minor)) != 0) continue;
    EXPECT_LT(::open("/tmp/device", O_RDONLY), 0) << major << ":" << minor;
  }
  for (const char* path : {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/dev/fuse", "/dev/vda", "/dev/sda", "/dev/loop0", "/dev/loop-control",
                           "/dev/net/tun", "/dev/kmsg", "/proc/kcore", "/proc/kmsg", "/proc/sysrq-trigger", "/sys/firmware/efi"}) {
    EXPECT_LT(::open(path, O_RDONLY), 0) << path;
  }
}

TEST(Files, KnobsOfTheHostCannotBeTurned) {
  for (const char* path : {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/suid_dumpable",
                           "/proc/sys/kernel/randomize_va_space", "/sys/kernel/uevent_helper", "/sys/power/state", "/proc/sys/kernel/panic"}) {
    const int fd = ::open(path, O_WRONLY);
    if (fd < 0) continue;
    EXPECT_LT(::write(fd, "0\n", 2), 0) << path;
    ::close(fd);
  }
}

TEST(Descriptors, OnlyTheStandardStreamsAreOpen) {
  std::set<int> open;
  for (int fd = 0; fd < 4096; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) open.insert(fd);
  }
  EXPECT_TRUE((open == std::set<int>{0, 1, 2})) << open.size() << " descriptors, the last " << *open.rbegin();
  for (const int fd : open) {
    const std::string target = ReadLink("/proc/self/fd/" + std::to_string(fd));
    EXPECT_EQ(target.find("memfd:"), std::string::npos) << target;
  }
}

TEST(Descriptors, NoProcessGivesAwayAnothersDescriptors) {
  for (pid_t pid = 1; pid < 200; ++pid) {
    if (pid == ::getpid()) continue;
    const auto pidfd = ::syscall(434 /* pidfd_open */, pid, 0);
    if (pidfd < 0) continue;
    for (int fd = 3; fd < 64; ++fd) {
      const auto got = ::syscall(438 /* pidfd_getfd */, pidfd, fd, 0);
      if (got < 0) continue;
      ADD_FAILURE() << "descriptor " << fd << " of " << pid << ": " << ReadLink("/proc/self/fd/" + std::to_string(got));
    }
  }
}

TEST(Processes, NothingOfTheHostCanBeSeenOrSignalled) {
  int others = 0;
  for (pid_t pid = 1; pid < 100'000; ++pid) {
    if (::kill(pid, 0) == 0 || errno == EPERM) ++others;
  }
  EXPECT_LE(others, 3);
  DIR* proc = ::opendir("/proc");
  ASSERT_NE(proc, nullptr);
  int processes = 0;
  while (const dirent* entry = ::readdir(proc)) processes += std::atoi(entry->d_name) > 0 ? 1 : 0;
  ::closedir(proc);
  EXPECT_LE(processes, 3);
}

TEST(Processes, TheParentAndTheStubsCannotBeTraced) {
  for (pid_t pid = 0; pid < 64; ++pid) {
    if (pid == ::getpid()) continue;
    EXPECT_LT(::ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), 0) << pid;
    EXPECT_LT(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr), 0) << pid;
  }
  char byte = 0;
  iovec local{&byte, 1};
  iovec remote{reinterpret_cast<void*>(0x7fffffff0000), 1};
  for (pid_t pid = 1; pid < 64; ++pid) {
    if (pid == ::getpid()) continue;
    EXPECT_LT(::process_vm_readv(pid, &local, 1, &remote, 1, 0), 0) << pid;
    EXPECT_LT(::process_vm_writev(pid, &local, 1, &remote, 1, 0), 0) << pid;
  }
}

// A stub keeps its own pages above what an application may use: they can neither be read as a secret of the Sentry's nor changed.
TEST(Memory, NothingCanBeMappedOverTheHighestPages) {
  for (uint64_t at = 0x7fff'ff00'0000; at < 0x8000'0000'0000; at += 4096) {
    const auto got = ::syscall(SYS_munmap, at, 4096);
    const auto protect = ::syscall(SYS_mprotect, at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (at >= 0x7fff'ffff'0000) {
      EXPECT_TRUE(got != 0 || protect != 0) << std::hex << at;
    }
  }
  void* fixed = ::mmap(reinterpret_cast<void*>(0x7fff'ffff'e000), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  EXPECT_EQ(fixed, MAP_FAILED);
}

// Those of mounts, names, IPC and process numbers can be made: they are the Sentry's own, and nothing of the host is in them.
TEST(Namespaces, NoneOfTheHostCanBeMadeOrEntered) {
  for (const int flags : {CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWCGROUP}) {
    EXPECT_TRUE(InChild([flags] { return ::unshare(flags) != 0; })) << std::hex << flags;
  }
  // What /proc shows is the sandbox's: to enter it changes nothing.
  for (const char* name : {"user", "mnt", "pid", "net", "ipc", "uts"}) {
    const std::string mine = std::string("/proc/self/ns/") + name;
    char before[64] = {}, after[64] = {};
    EXPECT_GT(::readlink(mine.c_str(), before, sizeof(before) - 1), 0) << name;
    const int fd = ::open((std::string("/proc/1/ns/") + name).c_str(), O_RDONLY);
    if (fd < 0) continue;
    (void)::setns(fd, 0);
    EXPECT_GT(::readlink(mine.c_str(), after, sizeof(after) - 1), 0) << name;
    EXPECT_STREQ(before, after) << name;
    ::close(fd);
  }
}

TEST(Mounts, NoFilesystemOfTheHostCanBeMounted) {
  ::mkdir("/tmp/mnt", 0755);
  for (const char* type : {"ext4", "9p", "nfs", "cgroup", "cgroup2", "debugfs", "securityfs", "fuse", "overlay", "bpf", "tracefs"}) {
    EXPECT_NE(::mount("/dev/vda", "/tmp/mnt", type, 0, nullptr), 0) << type;
  }
}

int Connect(int family, const sockaddr* address, socklen_t length) {
  const int fd = ::socket(family, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  const int result = ::connect(fd, address, length);
  ::close(fd);
  return result;
}

TEST(Network, TheHostsServicesAreOutOfReach) {
  const char* port = std::getenv("HOST_PORT");
  ASSERT_NE(port, nullptr);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  for (const uint32_t host : {0x7f000001u, 0x7f000002u, 0u, 0x0a000001u, 0xa9fea9feu}) {  // 169.254.169.254: a cloud's metadata
    address.sin_addr.s_addr = htonl(host);
    EXPECT_NE(Connect(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << std::hex << host;
  }
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  const std::string path = std::getenv("HOST_SOCKET");
  path.copy(local.sun_path, sizeof(local.sun_path) - 1);
  EXPECT_NE(Connect(AF_UNIX, reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
  const std::string abstract = std::getenv("HOST_ABSTRACT");
  std::fill(std::begin(local.sun_path), std::end(local.sun_path), '\0');
  abstract.copy(local.sun_path + 1, sizeof(local.sun_path) - 2);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + abstract.size());
  EXPECT_NE(Connect(AF_UNIX, reinterpret_cast<sockaddr*>(&local), length), 0);
}

TEST(Network, NoSocketOfTheKernelsInside) {
  // Packet sockets are those of the sandbox's own interface: there is no second one.
  const int packets = ::socket(AF_PACKET, SOCK_RAW, 0);
  const sockaddr_ll second{.sll_family = AF_PACKET, .sll_protocol = 0, .sll_ifindex = 2, .sll_hatype = 0, .sll_pkttype = 0, .sll_halen = 0, .sll_addr = {}};
  EXPECT_NE(::bind(packets, reinterpret_cast<const sockaddr*>(&second), sizeof(second)), 0);
  ::close(packets);
  EXPECT_LT(::socket(AF_VSOCK, SOCK_STREAM, 0), 0);
  EXPECT_LT(::socket(AF_ALG, SOCK_SEQPACKET, 0), 0);
  const int events = ::socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
  char event[64];
  EXPECT_LT(::recv(events, event, sizeof(event), MSG_DONTWAIT), 0);
  ::close(events);
  EXPECT_LT(::socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), 0);
}

TEST(Kernel, ItsOwnDoorsAreShut) {
  EXPECT_LT(::syscall(SYS_bpf, 0, nullptr, 0), 0);
  EXPECT_LT(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0), 0);
  EXPECT_LT(::syscall(SYS_init_module, nullptr, 0, ""), 0);
  EXPECT_LT(::syscall(SYS_kexec_load, 0, 0, nullptr, 0), 0);
  EXPECT_LT(::syscall(SYS_iopl, 3), 0);
  EXPECT_LT(::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, O_RDONLY), 0);
  EXPECT_LT(::syscall(SYS_reboot, 0xfee1dead, 672274793, 0x1234567, nullptr), 0);
}

}  // namespace
