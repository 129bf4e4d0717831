#include "runner/namespaces/idmapped_tree.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runner/namespaces/clone.h"
#include "runner/namespaces/privileges.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// A child that does nothing; it ends with this object.
class Holder {
 public:
  static absl::StatusOr<Holder> Start(uint64_t namespaces, absl::FunctionRef<bool()> first) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return SystemError("make a pipe");
    const UniqueFd read(ends[0]);
    UniqueFd write(ends[1]);
    Holder out;
    out.child_ = TRY_STATUS(CloneChild(namespaces, [&] {
      // Entering a namespace takes the wish to die back.
      const char done = first() && DieWithParent().ok() ? '\1' : '\0';
      if (::write(write.get(), &done, 1) != 1 || done == '\0') ::_exit(1);
      for (;;) ::pause();
    }));
    write.Reset();
    char done = 0;
    ssize_t n = 0;
    while ((n = ::read(read.get(), &done, 1)) < 0 && errno == EINTR) {
    }
    if (n != 1 || done != 1) return absl::UnavailableError("a helper process could not do its part");
    out.pid_ = TRY_STATUS(PidInProc(out.child_));
    return out;
  }
  Holder(Holder&& other) noexcept : child_(std::exchange(other.child_, Child{})), pid_(other.pid_) {}
  Holder& operator=(Holder&&) = delete;
  ~Holder() {
    if (child_.pid <= 0) return;
    ::syscall(SYS_pidfd_send_signal, child_.pidfd.get(), SIGKILL, nullptr, 0);
    while (::waitpid(child_.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_t pid() const { return pid_; }  // in /proc

 private:
  Holder() = default;
  Child child_;
  pid_t pid_ = 0;
};

}  // namespace

absl::StatusOr<UniqueFd> CopyTreeMapped(const std::string& path, const IdMaps& maps, bool recursive) {
  const auto holder = Holder::Start(CLONE_NEWUSER, [] { return true; });
  if (!holder.ok()) return holder.status();
  TRY_STATUS(WriteIdMaps(holder->pid(), maps, /*privileged=*/true));
  const UniqueFd user(::open(absl::StrCat("/proc/", holder->pid(), "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  if (!user.valid()) return SystemError("open a user namespace");
  UniqueFd tree(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  if (!tree.valid()) return SystemError(absl::StrCat("copy the mounts of ", path));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user.get());
  if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes, sizeof(attributes)) == 0) return tree;
  if (errno == ENOSYS) return absl::UnimplementedError("this host's kernel has no idmapped mounts (Linux 5.12 has)");
  if (errno == EINVAL) return absl::UnimplementedError(absl::StrCat("the filesystem of ", path, recursive ? ", or one below it," : "", " cannot be mounted with other owners, or is so already"));
  return SystemError(absl::StrCat("map the owners of ", path));
}

absl::StatusOr<IdMaps> MapsOfNamespace(const ForeignNamespace& ns) {
  struct stat own {};
  struct stat there {};
  if (::stat("/proc/self/ns/user", &own) != 0 || ::fstat(ns.fd.get(), &there) != 0) return SystemError("look at a user namespace");
  if (own.st_ino == there.st_ino) return UsageError("is the user namespace of whoever starts the container: leave it out");
  const auto holder = Holder::Start(0, [&] { return EnterNamespace(ns).ok(); });
  if (!holder.ok()) return absl::PermissionDeniedError("cannot be entered");
  IdMaps maps;
  const std::string directory = absl::StrCat("/proc/", holder->pid(), "/");
  const std::string uids = TRY_STATUS(ReadSmallFile(directory + "uid_map"));
  const std::string gids = TRY_STATUS(ReadSmallFile(directory + "gid_map"));
  maps.uids = TRY_STATUS(ParseIdMap(uids));
  maps.gids = TRY_STATUS(ParseIdMap(gids));
  if (maps.uids.empty() || maps.gids.empty()) return absl::FailedPreconditionError("maps no users or no groups");
  return maps;
}

std::optional<uint32_t> Outside(const std::vector<IdRange>& ranges, uint32_t id) {
  for (const IdRange& range : ranges) {
    if (id >= range.inside && id - range.inside < range.count) return range.outside + (id - range.inside);
  }
  return std::nullopt;
}

}  // namespace rampart::runner
