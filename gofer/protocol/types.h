// The parts that messages of the Gofer's protocol share: message numbers, fids, qids, attributes and limits.
//
// Sources: 9P2000 (Plan 9, intro(5)), 9P2000.L (the diod project's protocol.md, Linux include/net/9p/9p.h); messages from
// number 200 are ours and are sent only after both sides agreed on kVersionRampart.
#pragma once

#include <cstdint>
#include <string_view>

#include "gofer/protocol/wire.h"

namespace rampart::gofer {

inline constexpr std::string_view kVersionLinux = "9P2000.L";
inline constexpr std::string_view kVersionRampart = "9P2000.L.rampart1";
inline constexpr std::string_view kVersionUnknown = "unknown";

inline constexpr uint32_t kHeaderSize = 7;            // size[4] type[1] tag[2]
inline constexpr uint32_t kReadOverhead = 11;         // header and count[4] of Rread and Rreaddir
inline constexpr uint32_t kMinMessage = 4096;         // the least msize that a client may ask for
inline constexpr uint32_t kMinMessageExtended = 16384;  // with the extension: the longest walk and its attributes fit
inline constexpr uint32_t kMaxMessage = 128 * 1024 + 24;  // fits a SEQPACKET socket's default buffer
inline constexpr uint16_t kNoTag = 0xffff;
inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxWalk = 16;                // Twalk, as 9P fixes it
inline constexpr size_t kMaxWalkFull = 64;            // Tewalk
inline constexpr size_t kMaxTarget = 4095;            // a symbolic link's text
inline constexpr size_t kMaxXattr = 65536;

enum class FidNum : uint32_t {};
inline constexpr FidNum kNoFid{0xffffffff};

// clang-format off
#define GOFER_MESSAGES(X) \
  X(lerror, 6) X(statfs, 8) X(lopen, 12) X(lcreate, 14) X(symlink, 16) X(mknod, 18) X(rename, 20) X(readlink, 22) \
  X(getattr, 24) X(setattr, 26) X(xattrwalk, 30) X(xattrcreate, 32) X(readdir, 40) X(fsync, 50) X(lock, 52) X(getlock, 54) \
  X(link, 70) X(mkdir, 72) X(renameat, 74) X(unlinkat, 76) X(version, 100) X(auth, 102) X(attach, 104) X(flush, 108) \
  X(walk, 110) X(read, 116) X(write, 118) X(clunk, 120) X(remove, 122) \
  X(eattach, 200) X(ewalk, 202) X(eopen, 204) X(ecreate, 206) X(ereaddir, 208) X(eclunk, 210) X(erename, 212) X(egetattr, 214) \
  X(esetattr, 216) X(emkdir, 218) X(esymlink, 220) X(emknod, 222) X(elink, 224) X(esync, 226) X(egetxattr, 228) \
  X(esetxattr, 230) X(elistxattr, 232) X(eremovexattr, 234) X(econnect, 236) X(elane, 238) \
  X(eopenat, 240)
// clang-format on

enum class MsgType : uint8_t {
#define GOFER_MSG_ENUM(name, number) kT##name = number, kR##name = number + 1,
  GOFER_MESSAGES(GOFER_MSG_ENUM)
#undef GOFER_MSG_ENUM
};
// "Twalk"; "T?" for a number that the protocol does not have.
const char* MsgName(MsgType type);

// Bits of Qid::type.
inline constexpr uint8_t kQidDir = 0x80;
inline constexpr uint8_t kQidSymlink = 0x02;

struct Qid {
  uint8_t type = 0;
  uint32_t version = 0;
  uint64_t path = 0;
  GOFER_WIRE(type, version, path)
};

struct WireTime {
  int64_t sec = 0;
  uint32_t nsec = 0;
  GOFER_WIRE(sec, nsec)
};

// What statx(2) says of a file; `mask` and `attributes` have statx's bits (STATX_BTIME says whether btime is known).
struct FileAttr {
  uint32_t mask = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint32_t blksize = 0;
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  uint64_t ino = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;
  uint64_t mnt_id = 0;
  uint64_t attributes = 0;
  WireTime atime, mtime, ctime, btime;
  GOFER_WIRE(mask, mode, uid, gid, nlink, blksize, dev_major, dev_minor, rdev_major, rdev_minor, ino, size, blocks, mnt_id, attributes,
             atime, mtime, ctime, btime)
};
// Whether a peer's attributes are possible at all: a known file type, a size that fits loff_t, nanoseconds below a second.
bool IsValid(const FileAttr& attr);

// A single name in a directory: 1..255 bytes, no '/', no NUL, neither "." nor "..".
bool IsValidName(std::string_view name);

// Tsetattr's and Tesetattr's `valid` bits (Linux: P9_ATTR_*). A time without its _SET bit means now.
inline constexpr uint32_t kSetMode = 0x001;
inline constexpr uint32_t kSetUid = 0x002;
inline constexpr uint32_t kSetGid = 0x004;
inline constexpr uint32_t kSetSize = 0x008;
inline constexpr uint32_t kSetAtime = 0x010;
inline constexpr uint32_t kSetMtime = 0x020;
inline constexpr uint32_t kSetCtime = 0x040;
inline constexpr uint32_t kSetAtimeValue = 0x080;
inline constexpr uint32_t kSetMtimeValue = 0x100;

struct SetAttr {
  uint32_t valid = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  int64_t atime_sec = 0;
  uint64_t atime_nsec = 0;
  int64_t mtime_sec = 0;
  uint64_t mtime_nsec = 0;
  GOFER_WIRE(valid, mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec)
};

}  // namespace rampart::gofer
