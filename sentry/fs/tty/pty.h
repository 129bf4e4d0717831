// Pty: a pseudo terminal (pty(7)): a master description and any number of slave descriptions over one line discipline.
//
// Model. The Pty is the terminal: sessions refer to it. The master is one description, whose close hangs the terminal up: slaves then read end
// of file, write EIO, and the session gets SIGHUP. When the last slave closes, the master reads EIO once the buffer is empty, until one opens again.
// Thread safety: any thread. Lock order: mm's locks → mu_. Nothing of kernel/ is called, and no queue told, under mu_.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/fs/tty/line_discipline.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/terminal.h"

namespace rampart::fs::tty {

class Pty final : public vfs::Terminal {
 public:
  // `index`: N of /dev/pts/N. 
  Pty(kernel::Kernel& kernel, uint32_t index) : kernel_(kernel), index_(index) {}

  uint32_t index() const { return index_; }
  kernel::Kernel& kernel() const { return kernel_; }

  // Master's side.
  Result<size_t> MasterRead(mm::IoDst& dst);
  Result<size_t> MasterWrite(mm::IoSrc& src);
  wait::EventMask MasterReadiness();
  wait::WaitQueue& master_queue() { return master_queue_; }
  void MasterClosed();

  // Slave's side. `deadline`: the reader's VTIME state, 0 when it has none yet.
  Result<size_t> SlaveRead(mm::IoDst& dst, Nanos& vtime_deadline);
  Result<size_t> SlaveWrite(mm::IoSrc& src);
  wait::EventMask SlaveReadiness();
  wait::WaitQueue& slave_queue() { return slave_queue_; }
  Result<void> SlaveOpened();   // EIO: locked or hung up
  void SlaveClosed();
  bool ToStop();

  // ioctl_tty(2) commands common to both sides; ENOTTY for others.
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument, bool master);

  // vfs::Terminal.
  Result<Ref<vfs::FileDescription>> OpenTerminal(Caller& caller, uint32_t flags) override;
  uint64_t terminal_device() const override;
  // How the slave is opened again, by devpts; null when the master is gone.
  using Reopen = std::function<Result<Ref<vfs::FileDescription>>(Caller&, uint32_t)>;
  void SetReopen(Reopen reopen);

 private:
  Result<uint64_t> SettingsIoctl(mm::UserMemory& memory, uint32_t command, uint64_t argument);
  Result<uint64_t> TermiosIoctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument);
  Result<uint64_t> SetTermios(Caller& caller, abi::Termios settings, bool flush);
  Result<uint64_t> SessionIoctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument, bool master);
  Result<uint64_t> MasterIoctl(mm::UserMemory& memory, uint32_t command, uint64_t argument);
  void SendSignals(const std::vector<int>& signals);
  void TellBoth();

  kernel::Kernel& kernel_;
  const uint32_t index_;
  wait::WaitQueue master_queue_, slave_queue_;
  absl::Mutex mu_;
  LineDiscipline discipline_ ABSL_GUARDED_BY(mu_);
  Reopen reopen_ ABSL_GUARDED_BY(mu_);
  abi::Termios locked_settings_ ABSL_GUARDED_BY(mu_){};   // TIOCSLCKTRMIOS: bits that are set do not change
  abi::Winsize winsize_ ABSL_GUARDED_BY(mu_){};
  bool locked_ ABSL_GUARDED_BY(mu_) = true;          // TIOCSPTLCK
  bool exclusive_ ABSL_GUARDED_BY(mu_) = false;
  bool packet_mode_ ABSL_GUARDED_BY(mu_) = false;
  uint8_t packet_status_ ABSL_GUARDED_BY(mu_) = 0;
  bool master_open_ ABSL_GUARDED_BY(mu_) = true;
  uint32_t slaves_ ABSL_GUARDED_BY(mu_) = 0;
  bool had_slave_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace rampart::fs::tty
