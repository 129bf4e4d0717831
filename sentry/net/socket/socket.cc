#include "sentry/net/socket/socket.h"

#include <cstring>

#include "abi/ioctl.h"
#include "sentry/net/socket/interface.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr std::string_view kProtocolName = "system.sockprotoname";

// As /proc/net/protocols names them.
std::string ProtocolName(int family, int type, int protocol) {
  switch (family) {
    case abi::kAfUnix: return type == abi::kSockStream ? "UNIX-STREAM" : "UNIX";
    case abi::kAfNetlink: return "NETLINK";
    case abi::kAfPacket: return "PACKET";
    default: break;
  }
  const std::string name = type == abi::kSockStream ? "TCP" : type == abi::kSockRaw ? "RAW" : protocol == abi::kIpprotoUdplite ? "UDP-Lite" : "UDP";
  return family == abi::kAfInet6 ? name + "v6" : name;
}

// What is known of a socket as a file, and its protocol's name as an extended attribute.
class SocketInode final : public vfs::Inode {
 public:
  SocketInode(Ref<vfs::Inode> shown, std::string protocol)
      : Inode(Ref<vfs::Filesystem>::Share(&shown->fs()), shown->ino(), vfs::FileType::kSocket), shown_(std::move(shown)), protocol_(std::move(protocol)) {}
  // Without times until they are set.
  Result<vfs::Attr> GetAttr(const Caller& caller) override {
    vfs::Attr attr = TRY(shown_->GetAttr(caller));
    if (!timed_.load(std::memory_order_relaxed)) attr.atime = attr.mtime = attr.ctime = 0;
    return attr;
  }
  Result<void> SetAttr(const Caller& caller, const vfs::AttrChange& change) override {
    if (change.atime || change.mtime) timed_.store(true, std::memory_order_relaxed);
    return shown_->SetAttr(caller, change);
  }
  Result<std::vector<std::string>> ListXattr(const Caller&) override { return std::vector<std::string>{std::string(kProtocolName)}; }
  Result<std::string> GetXattr(const Caller& caller, std::string_view name) override {
    return name == kProtocolName ? Result<std::string>(protocol_ + '\0') : Inode::GetXattr(caller, name);
  }

 private:
  const Ref<vfs::Inode> shown_;
  const std::string protocol_;
  std::atomic<bool> timed_{false};
};

vfs::Path NewPath(const Caller& caller, std::string protocol) {
  Ref<vfs::Inode> shown = vfs::NewAnonymousInode(vfs::FileType::kSocket, 0777, caller.creds().fsuid, caller.creds().fsgid);
  Ref<vfs::Inode> inode = MakeRef<SocketInode>(std::move(shown), std::move(protocol));
  return vfs::NewAnonymousPath(inode, "socket:[" + std::to_string(inode->ino()) + "]");
}

}  // namespace

Socket::Socket(int family, int type, int protocol, uint32_t flags, Ref<Side> side, const Caller& caller)
    : FileDescription(NewPath(caller, ProtocolName(family, type, protocol)), abi::kORdWr | (flags & abi::kONonblock)),
      family_(family), type_(type), protocol_(protocol), uid_(caller.creds().fsuid), side_(std::move(side)) {
  side_->set_inode(inode_number());
}

void Socket::OnLastRef() {
  SocketList::Get().Remove(*this);
  FileDescription::OnLastRef();
}

void Socket::Report(SocketReport& report) const {
  report.family = family(), report.type = type_, report.protocol = protocol_;
  report.inode = inode_number();
  report.uid = uid_;
  report.local = LocalName();
  if (Result<std::string> peer = PeerName(); peer.ok()) {
    report.peer = std::move(peer).value();
    report.state = SocketReport::kEstablished;
  }
  if (const Result<size_t> bytes = Readable(); bytes.ok()) report.receive_queue = bytes.value();
  report.send_queue = Unsent();
  report.receive_buffer = receive_buffer.load(), report.send_buffer = send_buffer.load();
}

Result<void> Socket::Listen(Caller&, int) { return Errno::kEOPNOTSUPP; }
Result<Ref<Socket>> Socket::Accept(const Caller&, uint32_t) { return Errno::kEOPNOTSUPP; }

void Socket::Remember(int level, int name, int32_t value) {
  absl::MutexLock lock(&remembered_mu_);
  remembered_[{level, name}] = value;
  has_remembered_.store(true, std::memory_order_release);
}

void Socket::RememberAllOf(const Socket& from) {
  std::map<std::pair<int, int>, int32_t> all;
  {
    absl::MutexLock lock(&from.remembered_mu_);
    all = from.remembered_;
  }
  absl::MutexLock lock(&remembered_mu_);
  remembered_ = std::move(all);
  has_remembered_.store(!remembered_.empty(), std::memory_order_release);
}

int32_t Socket::Remembered(int level, int name, int32_t initial) const {
  if (!has_remembered_.load(std::memory_order_acquire)) return initial;
  absl::MutexLock lock(&remembered_mu_);
  const auto it = remembered_.find({level, name});
  return it == remembered_.end() ? initial : it->second;
}

void Socket::AddTimestamp(const Packet& packet, RecvResult& result) const {
  constexpr int kTimestamp = 29, kTimestampNanos = 35;
  struct Pair {
    int64_t seconds, part;
  };
  if (Remembered(abi::kSolSocket, kTimestampNanos, 0) != 0) {
    result.controls.push_back({abi::kSolSocket, kTimestampNanos, BytesOf(Pair{packet.time / kNanosPerSecond, packet.time % kNanosPerSecond})});
  } else if (Remembered(abi::kSolSocket, kTimestamp, 0) != 0) {
    result.controls.push_back({abi::kSolSocket, kTimestamp, BytesOf(Pair{packet.time / kNanosPerSecond, packet.time % kNanosPerSecond / 1000})});
  }
}

Result<int32_t> IntegerIn(std::string_view value) {
  if (value.size() < sizeof(int32_t)) return Errno::kEINVAL;
  int32_t number = 0;
  std::memcpy(&number, value.data(), sizeof(number));
  return number;
}

Result<size_t> Socket::Read(Caller&, mm::IoDst& dst, uint32_t) {
  const RecvResult got = TRY(Receive(dst, 0));
  return got.copied;
}

Result<size_t> Socket::Write(Caller& caller, mm::IoSrc& src, uint32_t) {
  Ancillary ancillary;
  ancillary.credentials = {0, caller.creds().ruid, caller.creds().rgid};
  return Send({src, {}, nullptr, ancillary});
}

Result<uint64_t> Socket::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  const auto give = [&](int32_t value) -> Result<uint64_t> {
    TRY(memory.CopyOut(UserOut<int32_t>(argument), value));
    return uint64_t{0};
  };
  switch (command) {
    case abi::kFionread: return give(static_cast<int32_t>(TRY(Readable())));
    case abi::kSiocOutq: return give(static_cast<int32_t>(Unsent()));
    case abi::kSiocAtmark: return give(TRY(AtMark()) ? 1 : 0);
    default: break;
  }
  if (command >= 0x8900 && command <= 0x89ff) {
    Result<uint64_t> answer = InterfaceIoctl(family(), memory, command, argument);
    if (answer.ok() || answer.error() != Errno::kENOTTY) return answer;
  }
  return FileDescription::Ioctl(caller, memory, command, argument);
}

}  // namespace rampart::net
