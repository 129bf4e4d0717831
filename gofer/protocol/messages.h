// The messages of 9P2000.L as structs, each with its fields in wire order. T… are requests, R… the replies; a request's Reply names
// its answer, and any request may be answered by Rlerror. Field names follow the protocol's own description.
// Ownership: views point into the message's bytes (wire.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "gofer/protocol/types.h"

namespace rampart::gofer {

#define GOFER_REPLY(name) static constexpr MsgType kType = MsgType::kR##name;
#define GOFER_REQUEST(name)                                \
  static constexpr MsgType kType = MsgType::kT##name; \
  using Reply = R##name;

struct Rlerror {
  GOFER_REPLY(lerror)
  uint32_t ecode = 0;  // a Linux errno
  GOFER_WIRE(ecode)
};

struct Rversion {
  GOFER_REPLY(version)
  uint32_t msize = 0;
  std::string_view version;
  GOFER_WIRE(msize, version)
};
struct Tversion {
  GOFER_REQUEST(version)
  uint32_t msize = 0;
  std::string_view version;
  GOFER_WIRE(msize, version)
};

struct Rauth {
  GOFER_REPLY(auth)
  Qid aqid;
  GOFER_WIRE(aqid)
};
struct Tauth {
  GOFER_REQUEST(auth)
  FidNum afid{};
  std::string_view uname, aname;
  uint32_t n_uname = 0;
  GOFER_WIRE(afid, uname, aname, n_uname)
};

struct Rattach {
  GOFER_REPLY(attach)
  Qid qid;
  GOFER_WIRE(qid)
};
struct Tattach {
  GOFER_REQUEST(attach)
  FidNum fid{}, afid{};
  std::string_view uname, aname;
  uint32_t n_uname = 0;
  GOFER_WIRE(fid, afid, uname, aname, n_uname)
};

struct Rflush {
  GOFER_REPLY(flush)
  GOFER_WIRE()
};
struct Tflush {
  GOFER_REQUEST(flush)
  uint16_t oldtag = 0;
  GOFER_WIRE(oldtag)
};

struct Rwalk {
  GOFER_REPLY(walk)
  std::vector<Qid> qids;
  GOFER_WIRE(qids)
};
struct Twalk {
  GOFER_REQUEST(walk)
  FidNum fid{}, newfid{};
  std::vector<std::string_view> names;
  GOFER_WIRE(fid, newfid, names)
};

struct Rlopen {
  GOFER_REPLY(lopen)
  Qid qid;
  uint32_t iounit = 0;
  GOFER_WIRE(qid, iounit)
};
struct Tlopen {
  GOFER_REQUEST(lopen)
  FidNum fid{};
  uint32_t flags = 0;  // Linux open(2) flags
  GOFER_WIRE(fid, flags)
};

struct Rlcreate {
  GOFER_REPLY(lcreate)
  Qid qid;
  uint32_t iounit = 0;
  GOFER_WIRE(qid, iounit)
};
struct Tlcreate {
  GOFER_REQUEST(lcreate)
  FidNum fid{};
  std::string_view name;
  uint32_t flags = 0, mode = 0, gid = 0;
  GOFER_WIRE(fid, name, flags, mode, gid)
};

struct Rread {
  GOFER_REPLY(read)
  Payload data;
  GOFER_WIRE(data)
};
struct Tread {
  GOFER_REQUEST(read)
  FidNum fid{};
  uint64_t offset = 0;
  uint32_t count = 0;
  GOFER_WIRE(fid, offset, count)
};

struct Rwrite {
  GOFER_REPLY(write)
  uint32_t count = 0;
  GOFER_WIRE(count)
};
struct Twrite {
  GOFER_REQUEST(write)
  FidNum fid{};
  uint64_t offset = 0;
  Payload data;
  GOFER_WIRE(fid, offset, data)
};

struct Rclunk {
  GOFER_REPLY(clunk)
  GOFER_WIRE()
};
struct Tclunk {
  GOFER_REQUEST(clunk)
  FidNum fid{};
  GOFER_WIRE(fid)
};

struct Rremove {
  GOFER_REPLY(remove)
  GOFER_WIRE()
};
struct Tremove {
  GOFER_REQUEST(remove)
  FidNum fid{};
  GOFER_WIRE(fid)
};

struct Rgetattr {
  GOFER_REPLY(getattr)
  uint64_t valid = 0;
  Qid qid;
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t nlink = 0, rdev = 0, size = 0, blksize = 0, blocks = 0;
  uint64_t atime_sec = 0, atime_nsec = 0, mtime_sec = 0, mtime_nsec = 0, ctime_sec = 0, ctime_nsec = 0, btime_sec = 0, btime_nsec = 0;
  uint64_t gen = 0, data_version = 0;
  GOFER_WIRE(valid, qid, mode, uid, gid, nlink, rdev, size, blksize, blocks, atime_sec, atime_nsec, mtime_sec, mtime_nsec, ctime_sec,
             ctime_nsec, btime_sec, btime_nsec, gen, data_version)
};
struct Tgetattr {
  GOFER_REQUEST(getattr)
  FidNum fid{};
  uint64_t request_mask = 0;
  GOFER_WIRE(fid, request_mask)
};
inline constexpr uint64_t kGetattrBasic = 0x7ff;  // what stat(2) has
inline constexpr uint64_t kGetattrBtime = 0x800;

struct Rsetattr {
  GOFER_REPLY(setattr)
  GOFER_WIRE()
};
struct Tsetattr {
  GOFER_REQUEST(setattr)
  FidNum fid{};
  SetAttr attr;
  GOFER_WIRE(fid, attr)
};

// One entry of Rreaddir's payload.
struct WireDirent {
  Qid qid;
  uint64_t offset = 0;
  uint8_t type = 0;  // DT_*
  std::string_view name;
  GOFER_WIRE(qid, offset, type, name)
};
struct Rreaddir {
  GOFER_REPLY(readdir)
  Payload data;
  GOFER_WIRE(data)
};
struct Treaddir {
  GOFER_REQUEST(readdir)
  FidNum fid{};
  uint64_t offset = 0;
  uint32_t count = 0;
  GOFER_WIRE(fid, offset, count)
};

struct Rstatfs {
  GOFER_REPLY(statfs)
  uint32_t type = 0, bsize = 0;
  uint64_t blocks = 0, bfree = 0, bavail = 0, files = 0, ffree = 0, fsid = 0;
  uint32_t namelen = 0;
  GOFER_WIRE(type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen)
};
struct Tstatfs {
  GOFER_REQUEST(statfs)
  FidNum fid{};
  GOFER_WIRE(fid)
};

struct Rsymlink {
  GOFER_REPLY(symlink)
  Qid qid;
  GOFER_WIRE(qid)
};
struct Tsymlink {
  GOFER_REQUEST(symlink)
  FidNum dfid{};
  std::string_view name, target;
  uint32_t gid = 0;
  GOFER_WIRE(dfid, name, target, gid)
};

struct Rmknod {
  GOFER_REPLY(mknod)
  Qid qid;
  GOFER_WIRE(qid)
};
struct Tmknod {
  GOFER_REQUEST(mknod)
  FidNum dfid{};
  std::string_view name;
  uint32_t mode = 0, major = 0, minor = 0, gid = 0;
  GOFER_WIRE(dfid, name, mode, major, minor, gid)
};

struct Rrename {
  GOFER_REPLY(rename)
  GOFER_WIRE()
};
struct Trename {
  GOFER_REQUEST(rename)
  FidNum fid{}, dfid{};
  std::string_view name;
  GOFER_WIRE(fid, dfid, name)
};

struct Rrenameat {
  GOFER_REPLY(renameat)
  GOFER_WIRE()
};
struct Trenameat {
  GOFER_REQUEST(renameat)
  FidNum olddirfid{};
  std::string_view oldname;
  FidNum newdirfid{};
  std::string_view newname;
  GOFER_WIRE(olddirfid, oldname, newdirfid, newname)
};

struct Runlinkat {
  GOFER_REPLY(unlinkat)
  GOFER_WIRE()
};
struct Tunlinkat {
  GOFER_REQUEST(unlinkat)
  FidNum dirfd{};
  std::string_view name;
  uint32_t flags = 0;  // AT_REMOVEDIR (0x200) or 0
  GOFER_WIRE(dirfd, name, flags)
};

struct Rreadlink {
  GOFER_REPLY(readlink)
  std::string_view target;
  GOFER_WIRE(target)
};
struct Treadlink {
  GOFER_REQUEST(readlink)
  FidNum fid{};
  GOFER_WIRE(fid)
};

struct Rlink {
  GOFER_REPLY(link)
  GOFER_WIRE()
};
struct Tlink {
  GOFER_REQUEST(link)
  FidNum dfid{}, fid{};
  std::string_view name;
  GOFER_WIRE(dfid, fid, name)
};

struct Rmkdir {
  GOFER_REPLY(mkdir)
  Qid qid;
  GOFER_WIRE(qid)
};
struct Tmkdir {
  GOFER_REQUEST(mkdir)
  FidNum dfid{};
  std::string_view name;
  uint32_t mode = 0, gid = 0;
  GOFER_WIRE(dfid, name, mode, gid)
};

struct Rfsync {
  GOFER_REPLY(fsync)
  GOFER_WIRE()
};
struct Tfsync {
  GOFER_REQUEST(fsync)
  FidNum fid{};
  uint32_t datasync = 0;
  GOFER_WIRE(fid, datasync)
};

struct Rxattrwalk {
  GOFER_REPLY(xattrwalk)
  uint64_t size = 0;
  GOFER_WIRE(size)
};
struct Txattrwalk {
  GOFER_REQUEST(xattrwalk)
  FidNum fid{}, newfid{};
  std::string_view name;  // empty: the list of names
  GOFER_WIRE(fid, newfid, name)
};

struct Rxattrcreate {
  GOFER_REPLY(xattrcreate)
  GOFER_WIRE()
};
struct Txattrcreate {
  GOFER_REQUEST(xattrcreate)
  FidNum fid{};
  std::string_view name;
  uint64_t attr_size = 0;
  uint32_t flags = 0;
  GOFER_WIRE(fid, name, attr_size, flags)
};

enum class LockType : uint8_t { kRead = 0, kWrite = 1, kUnlock = 2 };
enum class LockStatus : uint8_t { kSuccess = 0, kBlocked = 1, kError = 2, kGrace = 3 };

struct Rlock {
  GOFER_REPLY(lock)
  LockStatus status{};
  GOFER_WIRE(status)
};
struct Tlock {
  GOFER_REQUEST(lock)
  FidNum fid{};
  LockType type{};
  uint32_t flags = 0;
  uint64_t start = 0, length = 0;  // length 0: to the end of the file
  uint32_t proc_id = 0;
  std::string_view client_id;
  GOFER_WIRE(fid, type, flags, start, length, proc_id, client_id)
};

struct Rgetlock {
  GOFER_REPLY(getlock)
  LockType type{};
  uint64_t start = 0, length = 0;
  uint32_t proc_id = 0;
  std::string_view client_id;
  GOFER_WIRE(type, start, length, proc_id, client_id)
};
struct Tgetlock {
  GOFER_REQUEST(getlock)
  FidNum fid{};
  LockType type{};
  uint64_t start = 0, length = 0;
  uint32_t proc_id = 0;
  std::string_view client_id;
  GOFER_WIRE(fid, type, start, length, proc_id, client_id)
};

}  // namespace rampart::gofer
