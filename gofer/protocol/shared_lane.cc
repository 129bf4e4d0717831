#include "gofer/protocol/shared_lane.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>


namespace rampart::gofer {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
// A request takes 2-20 µs where nothing is cold; a sleep and its wake-up cost more than twice that.
constexpr Nanos kSpin = 30 * 1000;
constexpr int kSpinsPerLook = 64;
// How often a sleeping client looks whether the server is still there.
constexpr timespec kLookInterval{1, 0};

constexpr Nanos kLeastSpin = kSpin / 64;
constexpr uint32_t kTryFullSpin = 32;

// Found out when the program starts: later the call may be forbidden. On one processor spinning only keeps the peer from running.
const bool many_processors = [] {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) > 1;
}();

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected, const timespec* timeout) {
  // SAFETY: a lock-free atomic<uint32_t> is its word.
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected, timeout, nullptr, 0);
}
void FutexWake(std::atomic<uint32_t>& word) {
  // SAFETY: as above.
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace

Result<UniqueFd> SharedLane::MakeWindow() {
  UniqueFd fd = TRY(FdFromHost(::memfd_create("gofer-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (::ftruncate(fd.get(), kWindowSize) != 0) return ErrnoFromHost(errno);
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return ErrnoFromHost(errno);
  return fd;
}

Result<std::unique_ptr<SharedLane>> SharedLane::Create(const UniqueFd& window, MessageSocket socket) {
  const int seals = ::fcntl(window.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return Errno::kEPERM;
  // The size after the seal is the size for good.
  if (::lseek(window.get(), 0, SEEK_END) != off_t{kWindowSize}) return Errno::kEINVAL;
  void* memory = ::mmap(nullptr, kWindowSize, PROT_READ | PROT_WRITE, MAP_SHARED, window.get(), 0);
  if (memory == MAP_FAILED) return ErrnoFromHost(errno);
  return std::unique_ptr<SharedLane>(new SharedLane(static_cast<std::byte*>(memory), std::move(socket)));
}

SharedLane::SharedLane(std::byte* memory, MessageSocket socket)
    : memory_(memory),
      // SAFETY: page-aligned shared memory, zero when new, which is a valid Header (all atomics at 0; the client's turn).
      header_(*reinterpret_cast<Header*>(memory)),
      socket_(std::move(socket)),
      spin_(kSpin) {}

SharedLane::~SharedLane() { ::munmap(memory_, kWindowSize); }

void SharedLane::GiveTurn(uint32_t to, std::atomic<uint32_t>& bell, std::atomic<uint32_t>& sleeps) {
  header_.turn.store(to, std::memory_order_seq_cst);
  if (sleeps.load(std::memory_order_seq_cst) == 0) return;
  bell.fetch_add(1, std::memory_order_seq_cst);
  FutexWake(bell);
}

// Whether the turn came while spinning. Spinning in vain takes time from whoever shares our processor, perhaps the peer itself: then it is
// done for ever shorter, and only now and then for as long as it could pay.
bool SharedLane::Spin(uint32_t mine) {
  if (!many_processors) return false;
  const Nanos budget = ++waits_ % kTryFullSpin == 0 ? kSpin : spin_;
  const Nanos until = MonotonicNow() + budget;
  do {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (header_.turn.load(std::memory_order_acquire) == mine) {
        spin_ = std::min(kSpin, 2 * budget);
        return true;
      }
      __builtin_ia32_pause();
    }
  } while (MonotonicNow() < until);
  spin_ = std::max(kLeastSpin, spin_ / 2);
  return false;
}

Result<void> SharedLane::AwaitTurn(uint32_t mine, std::atomic<uint32_t>& bell, std::atomic<uint32_t>& sleeps) {
  const auto arrived = [&] { return header_.turn.load(std::memory_order_acquire) == mine; };
  if (arrived() || Spin(mine)) return Ok();
  // Either we see the turn here, or GiveTurn sees that we sleep.
  sleeps.store(1, std::memory_order_seq_cst);
  Result<void> result;
  while (true) {
    const uint32_t rung = bell.load(std::memory_order_seq_cst);
    if (header_.turn.load(std::memory_order_seq_cst) == mine) break;
    if (interrupted_.load()) result = Errno::kEPIPE;
    if (!result.ok()) break;
    FutexWait(bell, rung, mine == kClient ? &kLookInterval : nullptr);
    if (mine == kClient && !arrived() && PeerHasGone() && !arrived()) result = Errno::kEPIPE;
  }
  sleeps.store(0, std::memory_order_seq_cst);
  return result;
}

// Nothing is ever sent on the socket but descriptors, ahead of a reply: an end of file is the peer's end.
bool SharedLane::PeerHasGone() const {
  std::byte probe{};
  iovec iov{&probe, 1};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  const ssize_t n = ::recvmsg(socket_.fd(), &header, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

Result<size_t> SharedLane::Exchange(Bytes request, MutableBytes reply, FdList& fds) {
  if (request.size() > kMaxMessage) return Errno::kEMSGSIZE;
  std::memcpy(memory_ + kRequestAt, request.data(), request.size());
  header_.request_size.store(static_cast<uint32_t>(request.size()), std::memory_order_relaxed);
  GiveTurn(kServer, header_.server_bell, header_.server_sleeps);
  TRY(AwaitTurn(kClient, header_.client_bell, header_.client_sleeps));
  const size_t size = header_.reply_size.load(std::memory_order_relaxed);
  const uint32_t with_fds = header_.reply_fds.load(std::memory_order_relaxed);
  if (size < kHeaderSize || size > kMaxMessage || size > reply.size()) return Errno::kEBADMSG;
  std::memcpy(reply.data(), memory_ + kReplyAt, size);
  if (with_fds != 0) TRY(socket_.ReceiveFds(fds));
  return size;
}

Result<size_t> SharedLane::ReceiveRequest(MutableBytes buffer) {
  TRY(AwaitTurn(kServer, header_.server_bell, header_.server_sleeps));
  const size_t size = header_.request_size.load(std::memory_order_relaxed);
  if (size < kHeaderSize || size > kMaxMessage || size > buffer.size()) return Errno::kEBADMSG;
  std::memcpy(buffer.data(), memory_ + kRequestAt, size);
  return size;
}

Result<void> SharedLane::SendReply(Bytes reply, const FdList& fds) {
  CHECK(reply.size() <= kMaxMessage);
  std::memcpy(memory_ + kReplyAt, reply.data(), reply.size());
  header_.reply_size.store(static_cast<uint32_t>(reply.size()), std::memory_order_relaxed);
  header_.reply_fds.store(static_cast<uint32_t>(fds.size()), std::memory_order_relaxed);
  if (fds.size() != 0) {
    const std::byte beside{};
    TRY(socket_.Send(Bytes(&beside, 1), fds));
  }
  GiveTurn(kClient, header_.client_bell, header_.client_sleeps);
  return Ok();
}

void SharedLane::Interrupt() {
  interrupted_.store(true);
  header_.server_bell.fetch_add(1, std::memory_order_seq_cst);
  FutexWake(header_.server_bell);
}

}  // namespace rampart::gofer
