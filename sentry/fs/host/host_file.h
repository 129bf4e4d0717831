// HostFile: a description over a donated host descriptor: what the application finds as stdin, stdout and stderr.
//
// Model. The host descriptor's open file description is shared with processes outside, so its flags are never changed: O_NONBLOCK of the
// guest is ours alone. Reads and writes of what can block (pipes, sockets, terminals) use RWF_NOWAIT where the host file supports it; else they
// ask poll(2) first and then move no more than is sure not to block. Regular files and block devices go straight through, at the host's own position,
// which is shared as well. A terminal's settings pass through a list of allowed commands; its sessions are ours (host_terminal.h).
// Thread safety: any thread. Ownership: owns the host descriptor.
// Host calls: preadv2, pwritev2 (offset -1: the host's own position), lseek, fstat, fcntl(F_GETFL), ioctl (those of kPassed), ftruncate, fsync.
#pragma once

#include <sys/stat.h>

#include <atomic>

#include "abi/types.h"
#include "base/unique_fd.h"
#include "sentry/fs/host/host_events.h"
#include "sentry/fs/host/host_terminal.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class HostInode;

class HostFile final : public vfs::FileDescription {
 public:
  HostFile(vfs::Path path, uint32_t flags, Ref<HostInode> inode);

  // Whether the host says that it is a terminal.
  bool IsTerminal() const;
  // Null: not a terminal.
  RefPtr<HostTerminal> terminal() const;

  bool seekable() const override;
  bool pollable() const override;
  Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t flags) override;
  Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t flags, uint64_t* end) override;
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags) override;
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override;
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override;
  void EventUnregister(wait::WaitEntry& entry) override;
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;
  Result<void> Sync(bool data_only) override;

 private:
  const Ref<HostInode> host_;
};

// The object behind one or more HostFiles (an application may open /proc/self/fd/1 again).
class HostInode final : public vfs::Inode {
 public:
  HostInode(UniqueFd fd, const struct stat& st, uint32_t open_flags, HostTerminals* terminals);

  enum class Kind : uint8_t { kSeekable, kStream, kTerminal };
  Kind kind() const { return kind_; }
  int fd() const { return fd_.get(); }
  HostEvents& events() { return events_; }
  // Null for what is no terminal.
  const RefPtr<HostTerminal>& terminal() const { return terminal_; }

  Result<vfs::Attr> GetAttr(const Caller& caller) override;
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override;
  Result<void> CheckAccess(const Caller& caller, vfs::Access wanted) override;
  Result<Ref<vfs::FileDescription>> Open(Caller& caller, const vfs::Path& path, uint32_t flags) override;
  bool OpensItself() const override { return true; }

  // Bytes; see HostFile.
  Result<size_t> ReadV(std::span<const iovec> segments);
  Result<size_t> WriteV(std::span<const iovec> segments);

 private:
  UniqueFd fd_;
  HostEvents events_;
  const Kind kind_;
  const uint32_t open_flags_;
  const RefPtr<HostTerminal> terminal_;
  std::atomic<bool> nowait_reads_{true}, nowait_writes_{true};  // false once the host refused RWF_NOWAIT
};

// Takes over a donated descriptor. Errors: EBADF if it is not open. `terminals`: where descriptors of the same terminal find each other.
Result<Ref<vfs::FileDescription>> NewHostFile(UniqueFd fd, HostTerminals* terminals = nullptr);

}  // namespace rampart::fs
