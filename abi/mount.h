// mount(2), umount2(2), the mount API of descriptors (fsopen(2) and its kin), statmount(2) and listmount(2).
#pragma once

#include <cstdint>

namespace rampart::abi {

// mount(2).
inline constexpr uint64_t kMsRdonly = 1, kMsNosuid = 2, kMsNodev = 4, kMsNoexec = 8, kMsSynchronous = 16, kMsRemount = 32, kMsMandlock = 64,
                          kMsDirsync = 128, kMsNosymfollow = 256, kMsNoatime = 1024, kMsNodiratime = 2048, kMsBind = 4096, kMsMove = 8192,
                          kMsRec = 16384, kMsSilent = 32768, kMsUnbindable = 1 << 17, kMsPrivate = 1 << 18, kMsSlave = 1 << 19, kMsShared = 1 << 20,
                          kMsRelatime = 1 << 21, kMsStrictatime = 1 << 24, kMsLazytime = 1 << 25;
inline constexpr uint64_t kMsMagic = 0xC0ED0000, kMsMagicMask = 0xffff0000;

// umount2(2).
inline constexpr uint32_t kMntForce = 1, kMntDetach = 2, kMntExpire = 4, kUmountNofollow = 8;

// open_tree(2), move_mount(2).
inline constexpr uint32_t kOpenTreeClone = 1, kOpenTreeCloexec = 02000000, kAtRecursive = 0x8000;
inline constexpr uint32_t kMoveFromSymlinks = 1, kMoveFromAutomounts = 2, kMoveFromEmpty = 4, kMoveToSymlinks = 0x10, kMoveToAutomounts = 0x20,
                          kMoveToEmpty = 0x40, kMoveSetGroup = 0x100, kMoveBeneath = 0x200;

// fsopen(2), fspick(2), fsconfig(2), fsmount(2).
inline constexpr uint32_t kFsopenCloexec = 1, kFspickCloexec = 1, kFspickNofollow = 2, kFspickNoAutomount = 4, kFspickEmpty = 8, kFsmountCloexec = 1;
enum class FsconfigCommand : uint32_t { kSetFlag, kSetString, kSetBinary, kSetPath, kSetPathEmpty, kSetFd, kCreate, kReconfigure, kCreateExclusive };

// mount_setattr(2); kMountAttrAtime is a field, not a flag.
inline constexpr uint64_t kMountAttrRdonly = 1, kMountAttrNosuid = 2, kMountAttrNodev = 4, kMountAttrNoexec = 8, kMountAttrAtime = 0x70,
                          kMountAttrNoatime = 0x10, kMountAttrStrictatime = 0x20, kMountAttrNodiratime = 0x80, kMountAttrIdmap = 0x100000,
                          kMountAttrNosymfollow = 0x200000;
struct MountAttr {
  uint64_t set, clear, propagation, userns_fd;
};
static_assert(sizeof(MountAttr) == 32);

// statmount(2), listmount(2).
struct MountIdRequest {
  uint32_t size, spare;
  uint64_t mount_id, parameter, namespace_id;  // the last since version 1
};
inline constexpr uint64_t kMountIdRequestSize0 = 24, kListRoot = ~uint64_t{0};
inline constexpr uint64_t kStatmountSbBasic = 1, kStatmountMntBasic = 2, kStatmountPropagateFrom = 4, kStatmountRoot = 8, kStatmountPoint = 0x10,
                          kStatmountType = 0x20, kStatmountNamespace = 0x40, kStatmountOptions = 0x80;
struct Statmount {
  uint32_t size, options;
  uint64_t mask;
  uint32_t sb_major, sb_minor;
  uint64_t sb_magic;
  uint32_t sb_flags, type;
  uint64_t mount_id, parent_id;
  uint32_t old_mount_id, old_parent_id;
  uint64_t attributes, propagation, peer_group, master, propagate_from;
  uint32_t root, point;
  uint64_t namespace_id;
  uint64_t spare[49];
};
static_assert(sizeof(Statmount) == 512);

}  // namespace rampart::abi
