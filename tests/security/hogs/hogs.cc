// A program that makes as many as it can of one kind of kernel object, by name. It prints how many it got and stays a moment, for whoever measures.
//   hogs list | hogs NAME [MOST]
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

// Each makes one more, and tells whether it could.
using Hog = bool (*)(long i);

const std::string& LongName() {
  static const std::string name(220, 'n');
  return name;
}

bool Files(long i) {
  const int fd = ::open(("/tmp/" + LongName() + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

bool Directories(long i) { return ::mkdir(("/tmp/" + LongName() + std::to_string(i)).c_str(), 0700) == 0; }

bool DeepDirectories(long) { return ::mkdir("d", 0700) == 0 && ::chdir("d") == 0; }

bool Links(long i) {
  static const std::string target(4000, 't');
  return ::symlink(target.c_str(), ("/tmp/l" + std::to_string(i)).c_str()) == 0;
}

bool Xattrs(long i) {
  static const std::string value(60'000, 'v');
  const std::string name = "/tmp/x" + std::to_string(i / 4);
  const int fd = ::open(name.c_str(), O_CREAT | O_WRONLY, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0 && ::setxattr(name.c_str(), ("user.a" + std::to_string(i % 4)).c_str(), value.data(), value.size(), 0) == 0;
}

bool NamesThatAreNot(long i) {
  struct stat info {};
  return ::stat(("/usr/" + LongName() + std::to_string(i)).c_str(), &info) != 0;
}

bool FullPipes(long) {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK) != 0) return false;
  static const std::string data(1 << 20, 'p');
  ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  return ::write(ends[1], data.data(), data.size()) > 0;
}

bool FullSockets(long) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) != 0) return false;
  static const std::string data(60'000, 's');
  for (int i = 0; i < 100 && ::write(ends[0], data.data(), data.size()) > 0; ++i) {
  }
  return true;
}

bool SmallMessages(long) {
  static int ends[2] = {-1, -1};
  if (ends[0] < 0 && ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) != 0) return false;
  return ::write(ends[0], "x", 1) == 1;
}

// Descriptors that exist only inside messages: each is sent through the next pair, and closed.
bool InFlight(long) {
  static int carried = ::open("/dev/null", O_RDONLY);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return false;
  char byte = 'f';
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(2 * sizeof(int));
  const int both[2] = {carried, ends[1]};  // its own end too: a circle
  std::memcpy(CMSG_DATA(c), both, sizeof(both));
  if (::sendmsg(ends[0], &header, MSG_DONTWAIT) != 1) return false;
  ::close(carried);
  ::close(ends[1]);
  carried = ends[0];
  return true;
}

bool EpollEntries(long i) {
  static const int epoll = ::epoll_create1(0);
  const int fd = ::eventfd(0, 0);
  epoll_event event{EPOLLIN, {}};
  event.data.u64 = static_cast<uint64_t>(i);
  return fd >= 0 && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool Watches(long i) {
  static const int inotify = ::inotify_init1(IN_NONBLOCK);
  const std::string name = "/tmp/w" + std::to_string(i);
  const int fd = ::open(name.c_str(), O_CREAT | O_WRONLY, 0600);
  if (fd >= 0) ::close(fd);
  return ::inotify_add_watch(inotify, name.c_str(), IN_ALL_EVENTS) >= 0;
}

bool Events(long i) {  // never read
  static const int inotify = ::inotify_init1(IN_NONBLOCK);
  static const int watch = ::inotify_add_watch(inotify, "/tmp", IN_ALL_EVENTS);
  return watch >= 0 && Files(i);
}

bool Timers(long) {
  timer_t timer;
  return ::timer_create(CLOCK_MONOTONIC, nullptr, &timer) == 0;
}

bool QueuedSignals(long) {
  static const bool blocked = [] {
    sigset_t all;
    ::sigfillset(&all);
    return ::sigprocmask(SIG_BLOCK, &all, nullptr) == 0;
  }();
  return blocked && ::sigqueue(::getpid(), SIGRTMIN + 3, {}) == 0;
}

bool Mappings(long i) {
  static char* const base = static_cast<char*>(::mmap(nullptr, size_t{1} << 34, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return ::mprotect(base + 8192 * i, 4096, PROT_READ) == 0;
}

bool MemoryFiles(long) { return ::memfd_create(LongName().c_str(), 0) >= 0; }

bool SparseFiles(long i) {  // a byte in a far page each
  static const int fd = ::memfd_create("sparse", 0);
  return ::pwrite(fd, "x", 1, i << 24) == 1;
}

bool Mounts(long i) {
  const std::string name = "/tmp/m" + std::to_string(i % 2);
  ::mkdir(name.c_str(), 0700);
  return ::mount("/usr", name.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

bool Locks(long i) {
  static const int fd = ::open("/tmp/locked", O_CREAT | O_RDWR, 0600);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_start = 2 * i;
  lock.l_len = 1;
  return ::fcntl(fd, F_SETLK, &lock) == 0;
}

bool HighDescriptors(long i) {
  rlimit most{1 << 30, 1 << 30};
  ::setrlimit(RLIMIT_NOFILE, &most);
  return i < 64 && ::dup2(0, (1 << 20) - 1 - static_cast<int>(i)) >= 0;
}

bool Terminals(long) { return ::open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0; }

bool Connections(long) {
  static sockaddr_un address{AF_UNIX, "/tmp/backlog"};
  static const int listener = [] {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    return ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 && ::listen(fd, 1 << 30) == 0 ? fd : -1;
  }();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const bool done = listener >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);  // the other end waits to be accepted
  return done;
}

bool Zombies(long) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  return child > 0;
}

bool Processes(long) {  // as many as --pids allows, or the memory
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  return child > 0;
}

bool Epolls(long) {  // each watches the one before
  static int before = ::eventfd(0, 0);
  const int epoll = ::epoll_create1(0);
  epoll_event event{EPOLLIN, {}};
  if (epoll < 0) return false;
  (void)!::epoll_ctl(epoll, EPOLL_CTL_ADD, before, &event);
  before = epoll;
  return true;
}

struct Named {
  const char* name;
  Hog hog;
};
constexpr Named kHogs[] = {
    {"files", Files}, {"directories", Directories}, {"deep", DeepDirectories}, {"links", Links}, {"xattrs", Xattrs}, {"negative", NamesThatAreNot},
    {"pipes", FullPipes}, {"sockets", FullSockets}, {"messages", SmallMessages}, {"inflight", InFlight}, {"epoll", EpollEntries},
    {"watches", Watches}, {"events", Events}, {"timers", Timers}, {"signals", QueuedSignals}, {"mappings", Mappings}, {"memfds", MemoryFiles},
    {"sparse", SparseFiles}, {"mounts", Mounts}, {"locks", Locks}, {"highfds", HighDescriptors}, {"terminals", Terminals},
    {"connections", Connections}, {"zombies", Zombies}, {"processes", Processes}, {"epolls", Epolls},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "list") == 0) {
    for (const Named& named : kHogs) std::printf("%s\n", named.name);
    return 0;
  }
  if (argc < 2) return 2;
  const long most = argc > 2 ? std::atol(argv[2]) : 1'000'000;
  rlimit files{1 << 20, 1 << 20};
  ::setrlimit(RLIMIT_NOFILE, &files);
  (void)!::chdir("/tmp");
  for (const Named& named : kHogs) {
    if (std::strcmp(argv[1], named.name) != 0) continue;
    long i = 0;
    while (i < most && named.hog(i)) ++i;
    std::printf("%s: %ld (%s)\n", named.name, i, i == most ? "as many as wanted" : std::strerror(errno));
    std::fflush(stdout);
    ::usleep(300'000);
    return 0;
  }
  return 2;
}
