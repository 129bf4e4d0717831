#include "sentry/fs/dev/dev_tree.h"

#include <string>

#include "abi/fcntl.h"
#include "sentry/fs/dev/memory_devices.h"

namespace rampart::fs {
namespace {

struct Node {
  const char* name;
  uint32_t permissions, major, minor;
};
constexpr Node kNodes[] = {
    {"null", 0666, 1, 3}, {"zero", 0666, 1, 5}, {"full", 0666, 1, 7}, {"random", 0666, 1, 8}, {"urandom", 0666, 1, 9}, {"tty", 0666, 5, 0},
};
struct Link {
  const char* name;
  const char* target;
};
constexpr Link kLinks[] = {
    {"fd", "/proc/self/fd"},           {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"},
};
struct Directory {
  const char* name;
  uint32_t permissions;
};
constexpr Directory kDirectories[] = {{"pts", 0755}, {"shm", 01777}, {"mqueue", 01777}};

}  // namespace

Result<void> PopulateDev(vfs::Inode& root) {
  const KernelCaller kernel;
  for (const Node& node : kNodes) {
    vfs::CreateArgs args;
    args.type = vfs::FileType::kCharDevice;
    args.permissions = node.permissions;
    args.rdev = abi::MakeDev(node.major, node.minor);
    TRY(root.Create(kernel, node.name, args));
  }
  for (const Link& link : kLinks) {
    vfs::CreateArgs args;
    args.type = vfs::FileType::kSymlink;
    args.permissions = 0777;
    args.target = link.target;
    TRY(root.Create(kernel, link.name, args));
  }
  for (const Directory& directory : kDirectories) {
    vfs::CreateArgs args;
    args.type = vfs::FileType::kDirectory;
    args.permissions = directory.permissions;
    TRY(root.Create(kernel, directory.name, args));
  }
  return Ok();
}

}  // namespace rampart::fs
