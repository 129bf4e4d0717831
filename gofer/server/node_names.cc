// Making, moving and removing names in directories.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "gofer/server/host_calls.h"
#include "gofer/server/node.h"

namespace rampart::gofer {
namespace {

Result<void> CheckChange(Node& dir, std::string_view name) {
  TRY(dir.CheckWritable());
  if (!IsValidName(name)) return name.size() > kMaxName ? Errno::kENAMETOOLONG : Errno::kEINVAL;
  if (!dir.is_dir()) return Errno::kENOTDIR;
  return Ok();
}

// Gives a file that was just made to its owner, and the mode bits that creation or chown took away.
Result<void> GiveToOwner(Node::Found& found, uint32_t mode, Owner owner) {
  const bool chown = (owner.uid != Owner::kKeep && owner.uid != found.attr.uid) || (owner.gid != Owner::kKeep && owner.gid != found.attr.gid);
  const bool chmod = !found.node->is_symlink() && ((found.attr.mode & 07777) != (mode & 07777) || (chown && (mode & 06000) != 0));
  if (!chown && !chmod) return Ok();
  SetAttr set;
  if (chown) {
    set.valid |= kSetUid | kSetGid;
    set.uid = owner.uid;
    set.gid = owner.gid;
  }
  if (chmod) {
    set.valid |= kSetMode;
    set.mode = mode;
  }
  TRY(found.node->SetAttributes(set));
  found.attr = TRY(found.node->Stat());
  return Ok();
}

// After a name was made in `dir`: finds the file and gives it to its owner. Somebody else on the host may have put another file in
// its place meanwhile; one that is not freshly ours is not touched.
Result<Node::Found> Adopt(Node& dir, std::string_view name, uint32_t type, uint32_t mode, Owner owner) {
  Node::Found found = TRY(dir.Child(name));
  const uint32_t links = type == S_IFDIR ? 2 : 1;
  if ((found.attr.mode & S_IFMT) != type || found.attr.uid != dir.host().uid || found.attr.nlink > links) return Errno::kESTALE;
  auto given = GiveToOwner(found, mode, owner);
  if (!given.ok()) {
    ::unlinkat(dir.fd(), CName(name).c_str(), type == S_IFDIR ? AT_REMOVEDIR : 0);
    return given.error();
  }
  return found;
}

}  // namespace

Result<Created> CreateFile(Node& dir, std::string_view name, uint32_t flags, uint32_t mode, Owner owner) {
  TRY(CheckChange(dir, name));
  if ((flags & O_ACCMODE) == O_ACCMODE) return Errno::kEINVAL;
  const CName c_name(name);
  const int host_flags = static_cast<int>(flags & (O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME));
  UniqueFd file = TRY(OpenBeneath(dir.fd(), c_name.c_str(), host_flags | O_CREAT | O_EXCL | O_NONBLOCK, mode & 07777));
  auto found = dir.Child(name);
  if (found.ok()) {
    const FileAttr opened = TRY(StatAt(file.get(), ""));
    if (opened.ino != found->attr.ino || opened.dev_minor != found->attr.dev_minor) return Errno::kESTALE;
    auto given = GiveToOwner(*found, mode, owner);
    if (given.ok()) return Created{std::move(*found), std::move(file)};
    found = given.error();
  }
  ::unlinkat(dir.fd(), c_name.c_str(), 0);
  return found.error();
}

Result<Created> CreateUnnamedFile(Node& dir, uint32_t flags, uint32_t mode, Owner owner) {
  TRY(dir.CheckWritable());
  if (!dir.is_dir()) return Errno::kENOTDIR;
  if ((flags & O_ACCMODE) == O_ACCMODE || (flags & O_ACCMODE) == O_RDONLY) return Errno::kEINVAL;
  if (!dir.host().proc_self_fd.valid()) return Errno::kEOPNOTSUPP;  // nothing could name it later
  UniqueFd file = TRY(OpenBeneath(dir.fd(), ".", static_cast<int>(flags & O_ACCMODE) | O_TMPFILE, mode & 07777));
  UniqueFd path_fd = TRY(OpenThroughProc(dir.host().proc_self_fd.get(), file.get(), O_PATH));
  Node::Found found = TRY(Node::Unnamed(dir, std::move(path_fd)));
  TRY(GiveToOwner(found, mode, owner));
  return Created{std::move(found), std::move(file)};
}

Result<Node::Found> MakeDirectory(Node& dir, std::string_view name, uint32_t mode, Owner owner) {
  TRY(CheckChange(dir, name));
  if (::mkdirat(dir.fd(), CName(name).c_str(), mode & 01777) != 0) return ErrnoFromHost(errno);
  return Adopt(dir, name, S_IFDIR, mode, owner);
}

Result<Node::Found> MakeSymlink(Node& dir, std::string_view name, std::string_view target, Owner owner) {
  TRY(CheckChange(dir, name));
  if (target.empty()) return Errno::kENOENT;
  if (target.size() > kMaxTarget) return Errno::kENAMETOOLONG;
  if (target.find('\0') != std::string_view::npos) return Errno::kEINVAL;
  if (::symlinkat(std::string(target).c_str(), dir.fd(), CName(name).c_str()) != 0) return ErrnoFromHost(errno);
  return Adopt(dir, name, S_IFLNK, 0777, owner);
}

Result<Node::Found> MakeNode(Node& dir, std::string_view name, uint32_t mode, uint32_t major, uint32_t minor, Owner owner) {
  TRY(CheckChange(dir, name));
  const uint32_t type = (mode & S_IFMT) == 0 ? uint32_t{S_IFREG} : mode & S_IFMT;
  dev_t device = 0;
  if (type == S_IFCHR || type == S_IFBLK) {
    if (!dir.attach().devices) return Errno::kEPERM;
    device = makedev(major, minor);
  } else if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK) {
    return Errno::kEINVAL;
  }
  if (::mknodat(dir.fd(), CName(name).c_str(), type | (mode & 07777), device) != 0) return ErrnoFromHost(errno);
  return Adopt(dir, name, type, mode, owner);
}

Result<void> MakeLink(Node& dir, std::string_view name, Node& file) {
  TRY(CheckChange(dir, name));
  TRY(file.CheckWritable());
  if (file.is_dir()) return Errno::kEPERM;
  if (&dir.attach() != &file.attach()) return Errno::kEXDEV;
  const CName c_name(name);
  if (dir.host().proc_self_fd.valid()) {
    char number[16];
    std::snprintf(number, sizeof(number), "%d", file.fd());
    // Follows only the magic link, to the very file that the descriptor holds.
    if (::linkat(dir.host().proc_self_fd.get(), number, dir.fd(), c_name.c_str(), AT_SYMLINK_FOLLOW) != 0) return ErrnoFromHost(errno);
    return Ok();
  }
  const Node::Place place = TRY(file.CurrentPlace());
  if (::linkat(place.directory->fd(), CName(place.name).c_str(), dir.fd(), c_name.c_str(), 0) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> Rename(Node& old_dir, std::string_view old_name, Node& new_dir, std::string_view new_name, uint32_t flags) {
  TRY(CheckChange(old_dir, old_name));
  TRY(CheckChange(new_dir, new_name));
  if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) return Errno::kEINVAL;
  if (&old_dir.attach() != &new_dir.attach()) return Errno::kEXDEV;
  // Not through glibc, which makes renameat of it when there are no flags: one host call more to allow.
  const CName from(old_name), to(new_name);
  if (::syscall(SYS_renameat2, old_dir.fd(), from.c_str(), new_dir.fd(), to.c_str(), flags) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> Unlink(Node& dir, std::string_view name, bool directory) {
  TRY(CheckChange(dir, name));
  if (::unlinkat(dir.fd(), CName(name).c_str(), directory ? AT_REMOVEDIR : 0) != 0) return ErrnoFromHost(errno);
  return Ok();
}

}  // namespace rampart::gofer
