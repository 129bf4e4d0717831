#include "sentry/syscalls/socket.h"

#include <algorithm>
#include <array>

#include "sentry/kernel/blocking.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/net/inet/inet_socket.h"
#include "sentry/net/netlink/netlink_socket.h"
#include "sentry/net/packet/packet_socket.h"
#include "sentry/net/socket/socket_list.h"
#include "sentry/net/unix/unix_socket.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/socket_common.h"

namespace rampart::syscalls {
namespace {

constexpr int64_t kMaxAddress = 128;  // sockaddr_storage
constexpr int kMaxType = 10;          // SOCK_PACKET: above it is EINVAL

Result<uint32_t> FlagsOf(uint32_t type) {
  const uint32_t flags = type & ~abi::kSockTypeMask;
  if ((flags & ~(abi::kSockNonblock | abi::kSockCloexec)) != 0) return Errno::kEINVAL;
  return flags;
}

Result<Fd> Install(kernel::Task& task, Ref<net::Socket> socket, uint32_t flags) {
  net::SocketList::Get().Add(*socket);
  return task.fds().Install(std::move(socket), (flags & abi::kSockCloexec) != 0, task.limit(abi::Resource::kNofile));
}

template <class F>
auto WithWalk(kernel::Task& task, F f) {
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  return f(vfs::Walk{task, *mounts, task.fs().root(), task.fs().cwd()});
}

}  // namespace

Result<Ref<net::Socket>> GetSocket(kernel::Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  auto* const socket = dynamic_cast<net::Socket*>(file.get());
  if (socket == nullptr) return Errno::kENOTSOCK;
  return ShareRef(socket);
}

abi::Ucred OwnerOf(kernel::Task& task) { return {task.group().pid(), task.creds().euid, task.creds().egid}; }

Result<std::string> ReadAddress(kernel::Task& task, UserAddr address, int64_t length) {
  if (length < 0 || length > kMaxAddress) return Errno::kEINVAL;
  std::string text(static_cast<size_t>(length), '\0');
  TRY(task.mm().CopyInBytes(address, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<void> WriteAddress(kernel::Task& task, UserAddr address, UserInOut<int32_t> length, const std::string& name) {
  if (address == 0) return Ok();
  const int32_t room = TRY(task.CopyIn(UserIn<int32_t>(length)));
  if (room < 0) return Errno::kEINVAL;
  const size_t n = std::min(static_cast<size_t>(room), name.size());
  TRY(task.mm().CopyOutBytes(address, std::as_bytes(std::span(name)).first(n)));
  return task.CopyOut(UserOut<int32_t>(length), static_cast<int32_t>(name.size()));
}

Deadline SocketDeadline(const net::Socket& socket, Nanos timeout, uint32_t message_flags) {
  if (socket.nonblocking() || (message_flags & abi::kMsgDontwait) != 0) return Deadline::Immediately();
  return timeout == 0 ? Deadline::Never() : Deadline::After(timeout);
}

namespace {

Result<Ref<net::Socket>> MakeSocket(kernel::Task& task, int32_t family, int type, int32_t protocol, uint32_t flags) {
  if (type > kMaxType) return Errno::kEINVAL;
  switch (family) {
    case abi::kAfUnix: return net::NewUnixSocket(task, OwnerOf(task), type, protocol, flags);
    case abi::kAfInet:
    case abi::kAfInet6: return net::NewInetSocket(task, OwnerOf(task), family, type, protocol, flags);
    case abi::kAfNetlink: {
      abi::Ucred owner = OwnerOf(task);
      owner.pid = task.group().own_pid();  // its port
      return net::NewNetlinkSocket(task, owner, type, protocol, flags);
    }
    case abi::kAfPacket: return net::NewPacketSocket(task, type, protocol, flags, net::ReceiveIp);
    default: return Errno::kEAFNOSUPPORT;
  }
}

Result<Ref<net::Socket>> WaitForConnection(kernel::Task& task, net::Socket& socket, uint32_t flags) {
  const Nanos timeout = socket.receive_timeout.load();
  const auto attempt = [&] { return socket.Accept(task, flags); };
  const Deadline deadline = SocketDeadline(socket, timeout, 0);
  if (deadline.Passed()) return attempt();
  return NoRestart(kernel::BlockOn<Ref<net::Socket>>(task, socket, abi::kPollIn, deadline, attempt), timeout);
}

}  // namespace

Result<Word> SysSocket(kernel::Task& task, int32_t family, uint32_t type, int32_t protocol) {
  const uint32_t flags = TRY(FlagsOf(type));
  const Ref<net::Socket> socket = TRY(MakeSocket(task, family, static_cast<int>(type & abi::kSockTypeMask), protocol, flags));
  const Fd fd = TRY(Install(task, socket, flags));
  return static_cast<Word>(fd);
}

Result<Word> SysSocketpair(kernel::Task& task, int32_t family, uint32_t type, int32_t protocol, UserOut<int32_t> fds) {
  const uint32_t flags = TRY(FlagsOf(type));
  if (family != abi::kAfUnix) {
    TRY(MakeSocket(task, family, static_cast<int>(type & abi::kSockTypeMask), protocol, flags));
    return Errno::kEOPNOTSUPP;  // only UNIX sockets come in pairs
  }
  auto pair = TRY(net::NewUnixPair(task, OwnerOf(task), static_cast<int>(type & abi::kSockTypeMask), protocol, flags));
  net::SocketList::Get().Add(*pair.first);
  net::SocketList::Get().Add(*pair.second);
  const auto numbers =
      TRY(task.fds().InstallPair(pair.first, pair.second, (flags & abi::kSockCloexec) != 0, task.limit(abi::Resource::kNofile)));
  const std::array<int32_t, 2> both{static_cast<int32_t>(numbers.first), static_cast<int32_t>(numbers.second)};
  const Result<void> told = task.mm().CopyOutArray<int32_t>(fds, both);
  if (!told.ok()) {
    (void)task.fds().Remove(numbers.first);
    (void)task.fds().Remove(numbers.second);
    return told.error();
  }
  return Word{0};
}

Result<Word> SysBind(kernel::Task& task, Fd fd, UserBytes address, int32_t length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const std::string name = TRY(ReadAddress(task, address, length));
  TRY(WithWalk(task, [&](const vfs::Walk& walk) { return socket->Bind(walk, name); }));
  return Word{0};
}

Result<Word> SysListen(kernel::Task& task, Fd fd, int32_t backlog) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  TRY(socket->Listen(task, backlog));
  return Word{0};
}

Result<Word> SysAccept(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length) {
  return SysAccept4(task, fd, address, length, 0);
}

Result<Word> SysAccept4(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length, uint32_t flags) {
  const Result<Ref<net::Socket>> found = GetSocket(task, fd);
  if (!found.ok() && found.error() == Errno::kEBADF) return Errno::kEBADF;
  if ((flags & ~(abi::kSockNonblock | abi::kSockCloexec)) != 0) return Errno::kEINVAL;
  const Ref<net::Socket> socket = TRY(found);
  // Before a connection is taken, so that none is lost for want of a descriptor.
  if (task.fds().List().size() >= task.limit(abi::Resource::kNofile)) return Errno::kEMFILE;
  const Ref<net::Socket> accepted = TRY(WaitForConnection(task, *socket, flags));
  if (address != 0) {
    const Result<std::string> peer = accepted->PeerName();
    if (!peer.ok()) return Errno::kECONNABORTED;
    const std::string unnamed{static_cast<char>(socket->family()), '\0'};
    TRY(WriteAddress(task, address, length, peer.value().empty() ? unnamed : peer.value()));
  }
  const Fd number = TRY(Install(task, accepted, flags));
  return static_cast<Word>(number);
}

Result<Word> SysConnect(kernel::Task& task, Fd fd, UserBytes address, int32_t length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const std::string name = TRY(ReadAddress(task, address, length));
  const Nanos timeout = socket->send_timeout.load();
  const Deadline deadline = SocketDeadline(*socket, timeout, 0);
  const auto start = [&]() -> Result<void> {
    return WithWalk(task, [&](const vfs::Walk& walk) { return socket->Connect(walk, name); });
  };
  Result<void> done = start();
  if (done.ok() || deadline.Passed()) {
    TRY(done);
    return Word{0};
  }
  if (done.error() == Errno::kEAGAIN) {  // a UNIX listener's backlog is full
    done = kernel::BlockOn<void>(task, *socket, abi::kPollOut, deadline, start);
  } else if (done.error() == Errno::kEINPROGRESS || done.error() == Errno::kEALREADY) {
    const Errno waiting = done.error();
    done = kernel::BlockOn<void>(task, *socket, abi::kPollOut, deadline, [&] { return socket->FinishConnect(); });
    if (!done.ok() && done.error() == Errno::kEAGAIN) return waiting;
  }
  TRY(NoRestart(done, timeout));
  return Word{0};
}

Result<Word> SysGetsockname(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  std::string name = socket->LocalName();
  if (name.empty()) name = {static_cast<char>(socket->family()), '\0'};
  if (address == 0) return Errno::kEFAULT;
  TRY(WriteAddress(task, address, length, name));
  return Word{0};
}

Result<Word> SysGetpeername(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  std::string name = TRY(socket->PeerName());
  if (name.empty()) name = {static_cast<char>(socket->family()), '\0'};
  if (address == 0) return Errno::kEFAULT;
  TRY(WriteAddress(task, address, length, name));
  return Word{0};
}

Result<Word> SysShutdown(kernel::Task& task, Fd fd, int32_t how) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  if (how < abi::kShutRd || how > abi::kShutRdwr) return Errno::kEINVAL;
  TRY(socket->Shutdown(how));
  return Word{0};
}

}  // namespace rampart::syscalls
