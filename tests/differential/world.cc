#include "tests/differential/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace differential {
namespace {

constexpr size_t kAreaAt = 0x1000000000;

struct Arrived {
  int signal;
  int code;
  int pid;
  int value;
};
Arrived g_arrived[64];
volatile sig_atomic_t g_arrived_count = 0;
alignas(World::kPage) uint8_t g_source[1 << 16], g_target[1 << 16];

void OnSignal(int signal, siginfo_t* info, void*) {
  if (guard_on != 0 && (signal == SIGSEGV || signal == SIGBUS)) {
    snprintf(guard_text, sizeof(guard_text), "%s code %d at %+ld", signal == SIGSEGV ? "SEGV" : "BUS", info->si_code,
             static_cast<long>(reinterpret_cast<size_t>(info->si_addr)) - static_cast<long>(kAreaAt));
    siglongjmp(guard_jump, 1);
  }
  if (signal == SIGSEGV || signal == SIGBUS) {
    static const char text[] = "a fault of the program itself\n";
    if (write(1, text, sizeof(text) - 1) > 0 || info->si_code <= 0) _exit(99);
    _exit(99);
  }
  if (g_arrived_count < 64) {
    Arrived one{signal, info->si_code, 0, 0};
    if (info->si_code == SI_QUEUE || info->si_code == SI_MESGQ) one.value = info->si_value.sival_int;
    if (info->si_code <= 0 || signal == SIGCHLD) one.pid = info->si_pid;
    if (signal == SIGCHLD && info->si_code > 0) one.value = info->si_status;
    g_arrived[g_arrived_count] = one;
    g_arrived_count = g_arrived_count + 1;
  }
}

// The same capabilities everywhere: those about files, signals and identities.
void DropCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].effective = data[0].permitted = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID | 1U << CAP_KILL |
                                          1U << CAP_SETGID | 1U << CAP_SETUID;
  (void)syscall(SYS_capset, &header, data);
}

uint32_t Hash(const uint8_t* at, size_t length) {
  uint32_t hash = 2166136261;
  for (size_t i = 0; i < length; ++i) hash = (hash ^ at[i]) * 16777619;
  return hash;
}

}  // namespace

sigjmp_buf guard_jump;
volatile sig_atomic_t guard_on = 0;
char guard_text[64];

void InstallHandler(int signal, int flags, const sigset_t& mask) {
  struct sigaction action {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO | flags;
  action.sa_mask = mask;
  (void)sigaction(signal, &action, nullptr);
}

void World::Enter(uint64_t seed, int keys_of_program, const std::string& top) {
  (void)seed;
  keys = keys_of_program;
  first_pid_ = getpid();
  first_parent_ = getppid();
  privileged = geteuid() == 0;
  DropCapabilities();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGSEGV, SIGBUS, SIGUSR1, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 2, SIGCHLD, SIGPIPE, SIGXFSZ, SIGURG, SIGIO, SIGALRM})
    InstallHandler(signal, signal == SIGCHLD ? SA_RESTART : 0, none);
  syscall(SYS_close_range, kFirstFd, ~0U, 0);
  const auto lent = static_cast<int>(syscall(SYS_memfd_create, "lent", MFD_CLOEXEC));
  for (size_t i = 0; i < sizeof(g_source); ++i) g_source[i] = static_cast<uint8_t>(i * 7 + i / 256);
  if (write(lent, g_source, sizeof(g_source)) != sizeof(g_source) || dup3(lent, kLentFd, O_CLOEXEC) != kLentFd || close(lent) != 0) _exit(98);
  lseek(kLentFd, 0, SEEK_SET);
  const rlimit no_core{0, 0}, few_files{static_cast<rlim_t>(kLastFd + 1), 256}, memlock{1 << 16, 1 << 20};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0 || setrlimit(RLIMIT_NOFILE, &few_files) != 0) _exit(98);
  (void)setrlimit(RLIMIT_MEMLOCK, &memlock);
  prctl(PR_SET_NAME, "differential");
  umask(022);
  char real[4096];
  if (chdir(top.c_str()) != 0 || getcwd(real, sizeof(real)) == nullptr) _exit(98);
  top_ = real;
  void* area = mmap(reinterpret_cast<void*>(kAreaAt), (kAreaPages + 16) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (area == MAP_FAILED) _exit(98);
  area_ = static_cast<uint8_t*>(area);
  munmap(Area(16), (kAreaPages - 16) * kPage);
  if (mprotect(area_, 8 * kPage, PROT_READ | PROT_WRITE) != 0) _exit(98);
}

void World::Note(const char* format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof(text), format, list);
  va_end(list);
  if (!line_.empty()) line_ += ' ';
  line_ += text;
}

void World::Say(long result, const char* format, ...) {
  const int error = errno;
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof(text), format, list);
  va_end(list);
  if (!line_.empty()) line_ += ' ';
  line_ += text;
  const char* name = result == -1 ? strerrorname_np(error) : nullptr;
  line_ += " = " + (name != nullptr ? std::string(name) : std::to_string(result));
}

void World::NoteBytes(const void* at, long length) {
  if (length <= 0) return;
  uint32_t hash = 0;
  const auto* bytes = static_cast<const uint8_t*>(at);
  if (Guarded([&] { hash = Hash(bytes, static_cast<size_t>(length)); })) {
    Note("[%ld:%08x]", length, hash);
  } else {
    Note("[%ld:%s]", length, fault.c_str());
  }
}

void World::StartLine(int index) {
  line_ = std::string(static_cast<size_t>(depth) * 2, ' ') + std::to_string(index);
}

void World::EndLine() {
  for (int i = 0; i < g_arrived_count; ++i) {
    const Arrived& one = g_arrived[i];
    Note("{signal %d code %d from %s value %d}", one.signal, one.code, PidName(one.pid).c_str(), one.value);
  }
  g_arrived_count = 0;
  line_ += '\n';
  size_t done = 0;
  while (done < line_.size()) {
    const ssize_t n = write(1, line_.data() + done, line_.size() - done);
    if (n > 0) done += static_cast<size_t>(n);
    if (n < 0 && errno != EINTR) _exit(97);
  }
  line_.clear();
}

int World::Fd(Rng& r, unsigned kinds) {
  if (r.OneIn(40)) return r.OneIn(2) ? -1 : kLastFd;
  if (r.OneIn(12)) kinds = kAnything;
  const int start = static_cast<int>(r.Below(kLastFd + 1));
  for (int i = 0; i <= kLastFd; ++i) {
    const int fd = (start + i) % (kLastFd + 1);
    if ((kinds_[fd] & kinds) != 0) return fd;
  }
  return start < kFirstFd ? -1 : start;
}

int World::DirectoryFd(Rng& r) { return r.OneIn(3) ? Fd(r, kDirectory) : AT_FDCWD; }

void World::Keep(int fd) {
  if (fd < kFirstFd || fd > kLastFd) return;
  struct stat st {};
  if (fstat(fd, &st) != 0) {
    kinds_[fd] = kOther;
    return;
  }
  char link[256] = {};
  char name[64];
  snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
  (void)!readlink(name, link, sizeof(link) - 1);
  const std::string text = link;
  const auto is = [&](const char* what) { return text.find(what) != std::string::npos; };
  kinds_[fd] = S_ISDIR(st.st_mode)                  ? kDirectory
               : S_ISFIFO(st.st_mode)               ? kPipe
               : S_ISSOCK(st.st_mode)               ? kSocket
               : is("eventfd")                      ? kEvent
               : is("timerfd")                      ? kTimer
               : is("signalfd")                     ? kSignals
               : is("eventpoll")                    ? kEpoll
               : is("inotify")                      ? kInotify
               : is("anon_inode")                   ? kOther
               : text.starts_with("/differential.") ? kMessages
               : S_ISREG(st.st_mode)                ? kFile
                                                    : kOther;
}

void World::MakeRoom(Rng& r) {
  const auto open = std::count_if(std::begin(kinds_), std::end(kinds_), [](unsigned kind) { return kind != 0; });
  if (open < 24) return;
  const int start = static_cast<int>(r.Below(kLastFd + 1));
  int closed = 0;
  for (int i = 0; i <= kLastFd && closed < 6; ++i) {
    const int fd = (start + i) % (kLastFd + 1);
    if (kinds_[fd] == 0) continue;
    Say(close(fd), "close(%d)", fd);
    Forget(fd);
    ++closed;
  }
}

Path World::PathOf(Rng& r) {
  static const char* const kNames[] = {"f0", "f1",    "f2",    "f3",    "d0",      "d1",      "l0",        "l1",    "d0/f0", "d0/f1", "d0/d2", "d0/d2/f0", "d1/f0",
                                       "d1/l0", "./f0", "f0/",   "d0/",   "d0/../f1", "l0/f0",   "l1/",       "none/f0", "f0/f1", ".",   "d1/.",  "k0",       "k1"};
  if (r.OneIn(60)) return {"", "\"\""};
  if (r.OneIn(80)) return {std::string(300, 'x'), "x*300"};
  if (r.OneIn(80)) return {std::string(2050, '/') + std::string("f0") + std::string(2050, '/'), "too long"};
  if (r.OneIn(40)) {
    const int fd = Fd(r, kFile | kDirectory);
    if (KindOf(fd) == 0) return {"d0", "d0"};
    const std::string text = "/proc/self/fd/" + std::to_string(fd);
    return {text, text};
  }
  const std::string name = r.OneIn(2) ? kNames[r.Below(10)] : r.Pick(kNames);
  return {name, name};
}

std::string World::Shown(std::string text) const {
  for (size_t at = text.find(top_); at != std::string::npos; at = text.find(top_)) text.replace(at, top_.size(), "TOP");
  if (text.starts_with("/SYSV")) text = "SYSV";
  if (text.starts_with("/proc/") && text.size() > 6 && isdigit(static_cast<unsigned char>(text[6])) != 0) {
    text.replace(6, std::min(text.find('/', 6), text.size()) - 6, "PID");
  }
  const size_t bracket = text.find(":[");
  if (bracket != std::string::npos) text.resize(bracket);
  const size_t queue = text.find("/differential.");
  if (queue != std::string::npos) {
    const size_t dot = text.find('.', queue + 14);
    text = "QUEUE" + (dot == std::string::npos ? "" : text.substr(dot));
  }
  const size_t hash = text.find("/#");  // what Linux's filesystems call a file of O_TMPFILE
  if (hash != std::string::npos) {
    const size_t end = text.find(' ', hash);
    text.replace(hash, end == std::string::npos ? std::string::npos : end - hash, "/#N");
  }
  return text;
}

size_t World::Length(Rng& r) {
  static const size_t kLengths[] = {0, 1, 2, 7, 8, 64, 100, 511, 1000, 4095, 4096, 4097, 5000, 8192, 12000, 20000};
  if (r.OneIn(50)) return sizeof(g_source);
  return r.Pick(kLengths);
}

Buffer World::Source(Rng& r, size_t length, bool may_fault) {
  if (r.OneIn(12)) {
    const size_t page = r.Below(24), offset = r.OneIn(2) ? 0 : r.Below(kPage);
    volatile uint8_t* const at = Area(page) + offset;
    if (may_fault || Guarded([&] { (void)*at; })) return {Area(page) + offset, length, AreaName(Area(page) + offset)};
  }
  if (may_fault && r.OneIn(200)) return {nullptr, length, "null"};
  length = std::min(length, sizeof(g_source));
  const uint64_t word = r.Next();
  for (size_t i = 0; i < length; ++i) g_source[i] = static_cast<uint8_t>(word >> (i % 8 * 8)) ^ static_cast<uint8_t>(i / 8);
  return {g_source, length, "source"};
}

Buffer World::Target(Rng& r, size_t length) {
  if (r.OneIn(12)) {
    const size_t page = r.Below(24), offset = r.OneIn(2) ? 0 : r.Below(kPage);
    return {Area(page) + offset, length, AreaName(Area(page) + offset)};
  }
  if (r.OneIn(200)) return {nullptr, length, "null"};
  memset(g_target, 0, sizeof(g_target));
  return {g_target, std::min(length, sizeof(g_target)), "target"};
}

std::string World::AreaName(const void* at) const {
  const long offset = static_cast<const uint8_t*>(at) - area_;
  if (offset < 0 || offset >= static_cast<long>((kAreaPages + 16) * kPage)) return at == nullptr ? "null" : "elsewhere";
  const auto unsigned_offset = static_cast<size_t>(offset);
  return "@" + std::to_string(unsigned_offset / kPage) + (unsigned_offset % kPage == 0 ? "" : "+" + std::to_string(unsigned_offset % kPage));
}

bool World::IsOf(int fd, const void* at, size_t length) const {
  const auto start = reinterpret_cast<uintptr_t>(at);
  if ((KindOf(fd) & (kFile | kOther)) == 0 || start < kAreaAt || start >= kAreaAt + (kAreaPages + 16) * kPage) return false;
  char link[4096] = {}, name[64];
  snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
  FILE* maps = readlink(name, link, sizeof(link) - 1) > 0 ? fopen("/proc/self/maps", "re") : nullptr;
  if (maps == nullptr) return false;
  bool found = false;
  char text[5000];
  while (fgets(text, sizeof(text), maps) != nullptr) {
    unsigned long from = 0, to = 0;
    if (sscanf(text, "%lx-%lx", &from, &to) == 2 && from < start + length && start < to && strstr(text, link) != nullptr) found = true;
  }
  fclose(maps);
  return found;
}

bool World::IsCut(const void* at, size_t length) {
  const auto* const bytes = static_cast<const volatile uint8_t*>(at);
  if (length == 0 || !Guarded([&] { (void)*bytes; })) return false;
  for (size_t page = kPage - reinterpret_cast<uintptr_t>(at) % kPage; page < length; page += kPage) {
    if (!Guarded([&] { (void)bytes[page]; })) return true;
  }
  return false;
}

std::string World::PidName(int pid) const {
  if (pid == 0) return "0";
  if (pid == getpid()) return "me";
  for (int i = child_count_; i-- > 0;)
    if (children_[i] == pid) return "child" + std::to_string(i);
  if (pid == first_pid_) return "first";
  if (pid == first_parent_) return "parent";
  return pid < 0 ? std::to_string(pid) : "someone";
}

void World::AddChild(int pid) {
  if (child_count_ < 32) children_[child_count_++] = pid;
}

int World::Child(Rng& r) const { return child_count_ == 0 ? 0 : children_[r.Below(static_cast<uint64_t>(child_count_))]; }

void World::WaitForChange(int pid, int options) {
  siginfo_t info;
  while (waitid(P_PID, static_cast<id_t>(pid), &info, options | WNOWAIT) != 0 && errno == EINTR) {
  }
}

void World::PrintDescriptors() {
  for (int fd = kFirstFd; fd <= kLastFd; ++fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags == -1 && errno == EBADF) continue;
    char link[4096] = {};
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    (void)!readlink(name, link, sizeof(link) - 1);
    Note("fd %d: %s flags %#x fd %d", fd, Shown(link).c_str(), static_cast<unsigned>(flags), fcntl(fd, F_GETFD));
    if ((KindOf(fd) & kFile) != 0) Say(lseek(fd, 0, SEEK_CUR), "at");
    EndLine();
  }
}

void World::PrintTree() { PrintTreeBelow(top_, 0); }

void World::PrintTreeBelow(const std::string& path, int levels) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) {
    Say(-1, "opendir %s", Shown(path).c_str());
    EndLine();
    return;
  }
  while (const dirent* entry = readdir(dir)) names.emplace_back(entry->d_name);
  closedir(dir);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name == "." || name == "..") continue;
    const std::string full = path + "/" + name;
    struct stat st {};
    const int result = lstat(full.c_str(), &st);
    Say(result, "%s %o links %ld", Shown(full).c_str(), st.st_mode, static_cast<long>(st.st_nlink));
    Note("%u:%u", st.st_uid, st.st_gid);
    if (S_ISLNK(st.st_mode)) {
      char link[4096] = {};
      (void)!readlink(full.c_str(), link, sizeof(link) - 1);
      Note("-> %.80s", link);
    }
    if (S_ISREG(st.st_mode)) {
      Note("size %ld", static_cast<long>(st.st_size));
      const int fd = open(full.c_str(), O_RDONLY | O_NONBLOCK);
      const ssize_t n = fd < 0 ? -1 : pread(fd, g_target, sizeof(g_target), 0);
      if (n < 0) Say(-1, "contents");
      NoteBytes(g_target, n);
      if (fd >= 0) close(fd);
    }
    EndLine();
    if (S_ISDIR(st.st_mode) && levels < 8) PrintTreeBelow(full, levels + 1);
  }
}

void World::PrintArea() {
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == nullptr) return;
  char text[5000];
  while (fgets(text, sizeof(text), maps) != nullptr) {
    unsigned long from = 0, to = 0, offset = 0;
    char protection[8] = {};
    int name_at = 0;
    if (sscanf(text, "%lx-%lx %7s %lx %*s %*s %n", &from, &to, protection, &offset, &name_at) < 4) continue;
    if (from < kAreaAt || from >= kAreaAt + (kAreaPages + 16) * kPage) continue;
    std::string name = text + name_at;
    while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
    // A page a piece, since neighbours may be one or two mappings.
    for (unsigned long at = from; at < to; at += kPage) {
      const unsigned long page = (at - kAreaAt) / kPage;
      if (name.empty() && strcmp(protection, "---p") == 0) continue;
      Note("@%lu:%s%s%s", page, protection, name.empty() ? "" : std::to_string((offset + at - from) / kPage).c_str(), name.empty() ? "" : Shown(name).c_str());
    }
  }
  fclose(maps);
}

void World::PrintSignals() {
  FILE* status = fopen("/proc/self/status", "re");
  if (status == nullptr) return;
  char text[512];
  while (fgets(text, sizeof(text), status) != nullptr) {
    const std::string one = text;
    for (const char* key : {"State:", "Umask:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:", "Name:", "Threads:", "Uid:", "Gid:"}) {
      if (!one.starts_with(key)) continue;
      std::string shown = one.substr(0, one.size() - 1);
      std::replace(shown.begin(), shown.end(), '\t', ' ');
      Note("%s", shown.c_str());
    }
  }
  fclose(status);
}

}  // namespace differential
