#include "sentry/fs/tty/pty.h"

#include <algorithm>
#include <cstring>

#include "sentry/kernel/session.h"

namespace rampart::fs::tty {
namespace {

// One read or write moves at most this much: as N_TTY's buffer.
constexpr size_t kChunk = 4096;

std::string Copied(const iovec& segment) {
  std::string bytes(segment.iov_len, '\0');
  mm::CopyAppMemory(bytes.data(), segment.iov_base, segment.iov_len);
  return bytes;
}

Result<size_t> PutOut(mm::IoDst& dst, const std::string& bytes) {
  if (bytes.empty()) return size_t{0};
  return dst.Write(std::as_bytes(std::span(bytes)));
}

}  // namespace

void Pty::TellBoth() {
  master_queue_.Notify(abi::kPollIn | abi::kPollOut | abi::kPollPri);
  slave_queue_.Notify(abi::kPollIn | abi::kPollOut);
}

void Pty::SendSignals(const std::vector<int>& signals) {
  for (const int signo : signals) kernel::SignalForeground(kernel_, *this, signo);
}

Result<size_t> Pty::MasterRead(mm::IoDst& dst) {
  if (dst.remaining() == 0) return size_t{0};
  const Result<size_t> done = dst.Fill(std::min(dst.remaining(), kChunk), [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::MutexLock lock(&mu_);
    std::string& from = discipline_.output();
    std::string status;
    if (packet_mode_) {
      status += static_cast<char>(packet_status_);
      if (packet_status_ == 0 && from.empty()) status.clear();
    }
    const bool only_status = packet_mode_ && packet_status_ != 0;
    if (from.empty() && status.empty()) return had_slave_ && slaves_ == 0 ? Errno::kEIO : Errno::kEAGAIN;
    packet_status_ = 0;
    size_t moved = 0;
    for (const iovec& s : segments) {
      auto* at = static_cast<char*>(s.iov_base);
      size_t room = s.iov_len;
      if (!status.empty() && room > 0) *at++ = status[0], --room, ++moved, status.clear();
      if (only_status) break;
      const size_t n = std::min(room, from.size());
      mm::CopyAppMemory(at, from.data(), n);
      from.erase(0, n);
      moved += n;
    }
    return moved;
  });
  if (done.ok()) slave_queue_.Notify(abi::kPollOut);
  return done;
}

Result<size_t> Pty::MasterWrite(mm::IoSrc& src) {
  if (src.remaining() == 0) return size_t{0};
  std::vector<int> signals;
  const Result<size_t> done = src.Drain(std::min(src.remaining(), kChunk), [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::MutexLock lock(&mu_);
    size_t moved = 0;
    for (const iovec& s : segments) {
      const size_t n = discipline_.Input(Copied(s), signals);
      moved += n;
      if (n < s.iov_len) break;
    }
    if (moved == 0) return Errno::kEAGAIN;
    return moved;
  });
  SendSignals(signals);
  if (done.ok()) TellBoth();
  return done;
}

wait::EventMask Pty::MasterReadiness() {
  absl::MutexLock lock(&mu_);
  wait::EventMask ready = 0;
  if (discipline_.output_bytes() > 0) ready |= abi::kPollIn | abi::kPollRdNorm;
  if (packet_mode_ && packet_status_ != 0) ready |= abi::kPollIn | abi::kPollRdNorm | abi::kPollPri;
  if (!discipline_.InputFull()) ready |= abi::kPollOut | abi::kPollWrNorm;
  if (had_slave_ && slaves_ == 0) ready |= abi::kPollHup;
  return ready;
}

void Pty::MasterClosed() {
  {
    absl::MutexLock lock(&mu_);
    master_open_ = false;
    discipline_.FlushOutput();
  }
  kernel::HangUpTerminal(kernel_, *this);
  slave_queue_.Notify(abi::kPollIn | abi::kPollOut | abi::kPollHup | abi::kPollErr);
}

Result<size_t> Pty::SlaveRead(mm::IoDst& dst, Nanos& vtime_deadline) {
  if (dst.remaining() == 0) return size_t{0};
  std::string bytes;
  {
    absl::MutexLock lock(&mu_);
    const bool timer_over = vtime_deadline != 0 && MonotonicNow() >= vtime_deadline;
    Result<std::string> read = discipline_.Read(std::min(dst.remaining(), kChunk), timer_over);
    if (!read.ok()) {
      if (!master_open_) return size_t{0};
      const uint8_t tenths = discipline_.termios().cc[abi::kVTime];
      const bool raw = (discipline_.termios().lflag & abi::kICanon) == 0;
      // VMIN 0: the timer runs from the call; else from the first byte.
      if (raw && tenths != 0 && vtime_deadline == 0 && (discipline_.termios().cc[abi::kVMin] == 0 || discipline_.InputBytes() > 0)) {
        vtime_deadline = MonotonicNow() + tenths * (kNanosPerSecond / 10);
      }
      return Errno::kEAGAIN;
    }
    bytes = std::move(*read);
  }
  vtime_deadline = 0;
  master_queue_.Notify(abi::kPollOut);
  return PutOut(dst, bytes);
}

Result<size_t> Pty::SlaveWrite(mm::IoSrc& src) {
  if (src.remaining() == 0) return size_t{0};
  const Result<size_t> done = src.Drain(std::min(src.remaining(), kChunk), [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::MutexLock lock(&mu_);
    if (!master_open_) return Errno::kEIO;
    size_t moved = 0;
    for (const iovec& s : segments) {
      const size_t n = discipline_.Output(Copied(s));
      moved += n;
      if (n < s.iov_len) break;
    }
    if (moved == 0) return Errno::kEAGAIN;
    return moved;
  });
  if (done.ok()) master_queue_.Notify(abi::kPollIn);
  return done;
}

wait::EventMask Pty::SlaveReadiness() {
  absl::MutexLock lock(&mu_);
  if (!master_open_) return abi::kPollIn | abi::kPollOut | abi::kPollErr | abi::kPollHup | abi::kPollRdNorm | abi::kPollWrNorm;
  wait::EventMask ready = 0;
  if (discipline_.Readable()) ready |= abi::kPollIn | abi::kPollRdNorm;
  if (!discipline_.OutputFull()) ready |= abi::kPollOut | abi::kPollWrNorm;
  return ready;
}

Result<void> Pty::SlaveOpened() {
  absl::MutexLock lock(&mu_);
  if (locked_ || !master_open_) return Errno::kEIO;
  if (exclusive_) return Errno::kEBUSY;
  ++slaves_;
  had_slave_ = true;
  return Ok();
}

void Pty::SlaveClosed() {
  {
    absl::MutexLock lock(&mu_);
    if (--slaves_ > 0) return;
    exclusive_ = false;
  }
  master_queue_.Notify(abi::kPollIn | abi::kPollHup);
}

bool Pty::ToStop() {
  absl::MutexLock lock(&mu_);
  return (discipline_.termios().lflag & abi::kToStop) != 0;
}

Result<Ref<vfs::FileDescription>> Pty::OpenTerminal(Caller& caller, uint32_t flags) {
  Reopen reopen;
  {
    absl::MutexLock lock(&mu_);
    reopen = reopen_;
  }
  if (!reopen) return Errno::kEIO;
  return reopen(caller, flags);
}

void Pty::SetReopen(Reopen reopen) {
  {
    absl::MutexLock lock(&mu_);
    reopen_.swap(reopen);
  }
  // The old one is destroyed only here: it may hold the last reference to an inode.
}

uint64_t Pty::terminal_device() const { return abi::MakeDev(136 + index_ / 256, index_ % 256); }

}  // namespace rampart::fs::tty
