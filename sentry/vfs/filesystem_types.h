// The types of filesystems that there are, in the order of /proc/filesystems and of sysfs(2). None lies on a device.
#pragma once

namespace rampart::vfs {

inline constexpr const char* kFilesystemTypes[] = {"sysfs", "tmpfs", "proc", "devtmpfs", "devpts", "overlay", "9p", "pipefs", "mqueue", "sockfs"};

}  // namespace rampart::vfs
