// The messages that Rampart adds to 9P2000.L after both sides agreed on kVersionRampart: whole paths, attributes and descriptors in
// one exchange each. A "donated" descriptor travels beside the reply by SCM_RIGHTS and belongs to the client from then on.
//
// Unlike in 9P, a fid here is a handle on a file (an inode) and stays one: Teopen neither opens nor changes it.
// Ownership: views point into the message's bytes (wire.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "gofer/protocol/messages.h"

namespace rampart::gofer {

// Bits of Reattach::flags: what the attach point allows.
inline constexpr uint32_t kAttachReadOnly = 1;
inline constexpr uint32_t kAttachHostSockets = 2;   // Teconnect works
inline constexpr uint32_t kAttachDevices = 4;       // Temknod makes device nodes

struct Reattach {
  GOFER_REPLY(eattach)
  FileAttr attr;
  uint32_t flags = 0;
  GOFER_WIRE(attr, flags)
};
// Binds `fid` to the root of the attach point `name`.
struct Teattach {
  GOFER_REQUEST(eattach)
  FidNum fid{};
  std::string_view name;
  GOFER_WIRE(fid, name)
};

// Why a walk ended.
enum class WalkEnd : uint8_t {
  kDone = 0,     // every name was resolved
  kMissing = 1,  // names[attrs.size()] does not exist
  kSymlink = 2,  // names[attrs.size()-1] is a symbolic link; `target` is its text
  kNotDir = 3,   // names[attrs.size()-1] is neither a directory nor a link, and more names follow
  kError = 4,    // names[attrs.size()] could not be resolved: `ecode`
};
struct Rewalk {
  GOFER_REPLY(ewalk)
  WalkEnd end{};
  uint32_t ecode = 0;
  std::vector<FileAttr> attrs;  // one for each name resolved; their fids are bound
  std::string_view target;
  GOFER_WIRE(end, ecode, attrs, target)
};
struct WalkStep {
  FidNum newfid{};  // kNoFid: the attributes only
  std::string_view name;
  GOFER_WIRE(newfid, name)
};
// Bits of Tewalk::mode, about the last name. kWalkLazy: its fid is bound only if it is a directory. kWalkOpen (with kWalkLazy): a regular file is
// opened for reading and donated, if that works.
inline constexpr uint8_t kWalkLazy = 1, kWalkOpen = 2;
// Resolves up to kMaxWalkFull names one below the other, beginning in directory `fid`. Also done when the last is a symbolic link: kSymlink.
struct Tewalk {
  GOFER_REQUEST(ewalk)
  FidNum fid{};
  std::vector<WalkStep> steps;
  uint8_t mode = 0;
  GOFER_WIRE(fid, steps, mode)
};

struct Reopen {
  GOFER_REPLY(eopen)
  FileAttr attr;  // after the open (and truncation)
  GOFER_WIRE(attr)
};
// Opens the regular file `fid` and donates the descriptor. flags: O_RDONLY, O_WRONLY or O_RDWR, and O_TRUNC; others are ignored.
struct Teopen {
  GOFER_REQUEST(eopen)
  FidNum fid{};
  uint32_t flags = 0;
  GOFER_WIRE(fid, flags)
};

struct Reopenat {
  GOFER_REPLY(eopenat)
  FileAttr attr;
  GOFER_WIRE(attr)
};
// Opens the regular file `name` of directory `dfid` and donates it, without a fid. flags: as Teopen, without O_TRUNC. ENXIO: no regular file.
struct Teopenat {
  GOFER_REQUEST(eopenat)
  FidNum dfid{};
  std::string_view name;
  uint32_t flags = 0;
  GOFER_WIRE(dfid, name, flags)
};

struct Recreate {
  GOFER_REPLY(ecreate)
  FileAttr attr;
  GOFER_WIRE(attr)
};
// Makes a regular file that must not exist (EEXIST), binds `newfid` to it and donates it opened with `flags` (as Teopen). An empty name: a file
// without one (O_TMPFILE), which Telink may name; EOPNOTSUPP where the host's filesystem has none.
struct Tecreate {
  GOFER_REQUEST(ecreate)
  FidNum dfid{}, newfid{};
  std::string_view name;
  uint32_t flags = 0, mode = 0, uid = 0, gid = 0;
  GOFER_WIRE(dfid, newfid, name, flags, mode, uid, gid)
};

struct EntryAttr {
  uint64_t ino = 0;
  uint8_t type = 0;  // DT_*
  std::string_view name;
  uint8_t has_attr = 0;  // 0: it vanished or could not be examined; attr is then zero
  FileAttr attr;
  GOFER_WIRE(ino, type, name, has_attr, attr)
};
struct Rereaddir {
  GOFER_REPLY(ereaddir)
  uint8_t end = 0;  // 1: there is nothing after these
  std::vector<EntryAttr> entries;
  GOFER_WIRE(end, entries)
};
// The next entries of directory `fid`, without "." and ".."; `restart` 1 begins anew. The position belongs to the fid.
struct Tereaddir {
  GOFER_REQUEST(ereaddir)
  FidNum fid{};
  uint8_t restart = 0;
  uint8_t want_attr = 0;
  GOFER_WIRE(fid, restart, want_attr)
};

struct Reclunk {
  GOFER_REPLY(eclunk)
  GOFER_WIRE()
};
// Forgets fids; unknown ones are ignored.
struct Teclunk {
  GOFER_REQUEST(eclunk)
  std::vector<FidNum> fids;
  GOFER_WIRE(fids)
};

struct Rerename {
  GOFER_REPLY(erename)
  GOFER_WIRE()
};
// renameat2(2). flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT is refused (EINVAL).
struct Terename {
  GOFER_REQUEST(erename)
  FidNum olddir{};
  std::string_view oldname;
  FidNum newdir{};
  std::string_view newname;
  uint32_t flags = 0;
  GOFER_WIRE(olddir, oldname, newdir, newname, flags)
};

struct Regetattr {
  GOFER_REPLY(egetattr)
  FileAttr attr;
  GOFER_WIRE(attr)
};
struct Tegetattr {
  GOFER_REQUEST(egetattr)
  FidNum fid{};
  GOFER_WIRE(fid)
};

struct Resetattr {
  GOFER_REPLY(esetattr)
  FileAttr attr;
  GOFER_WIRE(attr)
};
struct Tesetattr {
  GOFER_REQUEST(esetattr)
  FidNum fid{};
  SetAttr set;
  GOFER_WIRE(fid, set)
};

struct Remkdir {
  GOFER_REPLY(emkdir)
  FileAttr attr;
  GOFER_WIRE(attr)
};
struct Temkdir {
  GOFER_REQUEST(emkdir)
  FidNum dfid{}, newfid{};
  std::string_view name;
  uint32_t mode = 0, uid = 0, gid = 0;
  GOFER_WIRE(dfid, newfid, name, mode, uid, gid)
};

struct Resymlink {
  GOFER_REPLY(esymlink)
  FileAttr attr;
  GOFER_WIRE(attr)
};
struct Tesymlink {
  GOFER_REQUEST(esymlink)
  FidNum dfid{}, newfid{};
  std::string_view name, target;
  uint32_t uid = 0, gid = 0;
  GOFER_WIRE(dfid, newfid, name, target, uid, gid)
};

struct Remknod {
  GOFER_REPLY(emknod)
  FileAttr attr;
  GOFER_WIRE(attr)
};
// FIFOs, sockets and regular files; device nodes only where the attach point allows them (EPERM).
struct Temknod {
  GOFER_REQUEST(emknod)
  FidNum dfid{}, newfid{};
  std::string_view name;
  uint32_t mode = 0, major = 0, minor = 0, uid = 0, gid = 0;
  GOFER_WIRE(dfid, newfid, name, mode, major, minor, uid, gid)
};

struct Relink {
  GOFER_REPLY(elink)
  FileAttr attr;  // of the file, with its new link count
  GOFER_WIRE(attr)
};
struct Telink {
  GOFER_REQUEST(elink)
  FidNum dfid{}, fid{};
  std::string_view name;
  GOFER_WIRE(dfid, fid, name)
};

enum class SyncKind : uint8_t { kFile = 0, kData = 1, kFilesystem = 2 };
struct Resync {
  GOFER_REPLY(esync)
  GOFER_WIRE()
};
struct Tesync {
  GOFER_REQUEST(esync)
  FidNum fid{};
  SyncKind kind{};
  GOFER_WIRE(fid, kind)
};

struct Regetxattr {
  GOFER_REPLY(egetxattr)
  Payload value;
  GOFER_WIRE(value)
};
struct Tegetxattr {
  GOFER_REQUEST(egetxattr)
  FidNum fid{};
  std::string_view name;
  GOFER_WIRE(fid, name)
};
struct Resetxattr {
  GOFER_REPLY(esetxattr)
  GOFER_WIRE()
};
struct Tesetxattr {
  GOFER_REQUEST(esetxattr)
  FidNum fid{};
  std::string_view name;
  Payload value;
  uint32_t flags = 0;  // XATTR_CREATE, XATTR_REPLACE
  GOFER_WIRE(fid, name, value, flags)
};
struct Relistxattr {
  GOFER_REPLY(elistxattr)
  Payload names;  // each NUL-terminated, as listxattr(2) gives them
  GOFER_WIRE(names)
};
struct Telistxattr {
  GOFER_REQUEST(elistxattr)
  FidNum fid{};
  GOFER_WIRE(fid)
};
struct Reremovexattr {
  GOFER_REPLY(eremovexattr)
  GOFER_WIRE()
};
struct Teremovexattr {
  GOFER_REQUEST(eremovexattr)
  FidNum fid{};
  std::string_view name;
  GOFER_WIRE(fid, name)
};

struct Reconnect {
  GOFER_REPLY(econnect)
  GOFER_WIRE()
};
// Connects to the host's UNIX socket `fid` and donates the connection. type: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
struct Teconnect {
  GOFER_REQUEST(econnect)
  FidNum fid{};
  uint32_t type = 0;
  GOFER_WIRE(fid, type)
};

struct Relane {
  GOFER_REPLY(elane)
  uint32_t shared_size = 0;  // bytes of the donated shared window; 0: a socket only
  GOFER_WIRE(shared_size)
};
// Another lane into the same session: a socket (and with `shared` 1 a shared window, see lane.h), served by its own thread.
// One request at a time is under way on a lane.
struct Telane {
  GOFER_REQUEST(elane)
  uint8_t shared = 0;
  GOFER_WIRE(shared)
};

}  // namespace rampart::gofer
