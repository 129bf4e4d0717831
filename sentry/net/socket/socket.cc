#include "sentry/net/socket/socket.h"

#include "abi/ioctl.h"

namespace rampart::net {
namespace {

vfs::Path NewPath(const Caller& caller) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType::kSocket, 0777, caller.creds().fsuid, caller.creds().fsgid);
  return vfs::NewAnonymousPath(inode, "socket:[" + std::to_string(inode->ino()) + "]");
}

}  // namespace

Endpoint::Kind KindOf(int type) {
  return type == abi::kSockStream ? Endpoint::Kind::kStream
                                  : type == abi::kSockSeqpacket ? Endpoint::Kind::kSeqpacket : Endpoint::Kind::kDatagram;
}

Socket::Socket(int family, int type, int protocol, uint32_t flags, Ref<Endpoint> endpoint, const Caller& caller)
    : FileDescription(NewPath(caller), abi::kORdWr | (flags & abi::kONonblock)),
      family_(family), type_(type), protocol_(protocol), endpoint_(std::move(endpoint)) {}

Socket::~Socket() {
  const uint64_t value = linger.load(std::memory_order_relaxed);
  endpoint_->Close(static_cast<uint32_t>(value) != 0 && (value >> 32) == 0);
}

void Socket::Remember(int level, int name, int32_t value) {
  absl::MutexLock lock(&remembered_mu_);
  remembered_[{level, name}] = value;
}

std::optional<int32_t> Socket::Remembered(int level, int name) const {
  absl::MutexLock lock(&remembered_mu_);
  const auto it = remembered_.find({level, name});
  if (it == remembered_.end()) return std::nullopt;
  return it->second;
}

Result<size_t> Socket::Read(Caller&, mm::IoDst& dst, uint32_t) {
  const RecvResult got = TRY(endpoint_->Receive(dst, false));
  return got.copied;
}
Result<size_t> Socket::Write(Caller&, mm::IoSrc& src, uint32_t) { return endpoint_->Send(src, nullptr, {}, lossy()); }

wait::EventMask Socket::Readiness(wait::EventMask mask) { return endpoint_->Readiness() & (mask | abi::kPollErr | abi::kPollHup); }

Result<uint64_t> Socket::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command != abi::kFionread) return FileDescription::Ioctl(caller, memory, command, argument);
  if (endpoint_->listening()) return Errno::kEINVAL;
  TRY(memory.CopyOut(UserOut<int32_t>(argument), static_cast<int32_t>(endpoint_->Readable())));
  return uint64_t{0};
}

}  // namespace rampart::net
