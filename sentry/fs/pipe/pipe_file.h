// Descriptions of pipes and FIFOs: pipe2(2), and open(2) of a FIFO node or of /proc/self/fd/N that is a pipe.
//
// A FIFO's Pipe exists while somebody has it open; it is found again by the node's inode. Opening one end waits for the other: the
// description is made at once and FinishOpen says EAGAIN until the peer has come (it may already be gone again, as in Linux).
// Thread safety: any thread. Lock order: the FIFO table's lock is a leaf.
#pragma once

#include <utility>

#include "sentry/fs/pipe/pipe.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class PipeFile final : public vfs::FileDescription {
 public:
  // Adds its ends to `pipe`.
  PipeFile(vfs::Path path, uint32_t flags, Ref<Pipe> pipe, bool fifo);

  Pipe& pipe() const { return *pipe_; }

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags) override;
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override;
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override;
  void EventUnregister(wait::WaitEntry& entry) override;
  Result<void> FinishOpen(Caller& caller) override;
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;
  Result<uint64_t> Fcntl(Caller& caller, uint32_t command, uint64_t argument) override;  // F_GETPIPE_SZ, F_SETPIPE_SZ

 protected:
  ~PipeFile() override;

 private:
  const Ref<Pipe> pipe_;
  const bool is_reader_, is_writer_;
  uint64_t hangup_from_ = ~uint64_t{0};   // immutable after construction: see Pipe::Readiness
  uint64_t awaited_readers_ = ~uint64_t{0};  // FinishOpen waits until the count of openings differs; ~0: waits for nobody
  uint64_t awaited_writers_ = ~uint64_t{0};
};

// pipe2(2): {read end, write end}. `flags`: O_NONBLOCK and O_DIRECT.
Result<std::pair<Ref<PipeFile>, Ref<PipeFile>>> NewPipe(Caller& caller, uint32_t flags);

// Registered with the VFS at boot. ENXIO: O_WRONLY | O_NONBLOCK without a reader.
Result<Ref<vfs::FileDescription>> OpenFifo(Caller& caller, const vfs::Path& path, uint32_t flags);
void RegisterPipes();

}  // namespace rampart::fs
