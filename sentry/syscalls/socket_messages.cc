// send(2), recv(2) and their kin.
#include <algorithm>
#include <cstring>

#include "sentry/kernel/blocking.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/syscalls/socket.h"
#include "sentry/syscalls/socket_common.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {
namespace {

using Ranges = std::vector<mm::AddrRange>;

Result<Ranges> ReadRanges(kernel::Task& task, UserAddr iov, uint64_t count) {
  if (count > abi::kIovMax) return Errno::kEMSGSIZE;
  const auto vectors = TRY(task.mm().CopyInArray(UserIn<abi::Iovec>(iov), count, abi::kIovMax));
  Ranges ranges;
  uint64_t left = abi::kMaxRwCount;
  for (const abi::Iovec& v : vectors) {
    if (v.len > INT64_MAX || v.base + v.len < v.base) return Errno::kEINVAL;
    const uint64_t n = std::min(v.len, left);
    ranges.push_back({v.base, v.base + n});
    left -= n;
  }
  return ranges;
}

Result<Ranges> OneRange(UserAddr buffer, uint64_t size) {
  size = std::min(size, abi::kMaxRwCount);
  if (buffer + size < buffer) return Errno::kEFAULT;
  return Ranges{{buffer, buffer + size}};
}

struct Outgoing {
  Ranges ranges;
  std::string to;  // empty: the connected peer
  net::Ancillary ancillary;
  uint32_t flags = 0;
};

// A datagram socket is not told when somebody else's receiver has room again: it asks every few milliseconds.
Deadline PaceOf(const net::Socket& socket, Deadline deadline) {
  if (socket.type() != abi::kSockDgram) return deadline;
  const Deadline soon = Deadline::After(2 * kNanosPerMilli);
  return deadline.at() < soon.at() ? deadline : soon;
}

Result<Word> SendOnce(kernel::Task& task, net::Socket& socket, const Outgoing& out) {
  RefPtr<net::Endpoint> to;
  if (!out.to.empty() && socket.type() == abi::kSockDgram) {
    const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
    const Result<Ref<net::Endpoint>> target = socket.Target(vfs::Walk{task, *mounts, task.fs().root(), task.fs().cwd()}, out.to);
    uint64_t size = 0;
    for (const mm::AddrRange& r : out.ranges) size += r.length();
    if (!target.ok() && socket.lossy() && target.error() == Errno::kECONNREFUSED) return size;  // UDP: nobody is there, nobody tells
    to = TRY(target);
  }
  const std::unique_ptr<mm::IoSrc> src = task.mm().NewSrc(out.ranges);
  const Deadline deadline = SocketDeadline(socket, socket.send_timeout.load(), out.flags);
  const bool stream = socket.type() == abi::kSockStream;
  net::Ancillary ancillary = out.ancillary;
  Word total = 0;
  while (true) {
    const auto attempt = [&]() -> Result<size_t> {
      if (stream) return socket.endpoint().Send(*src, nullptr, ancillary, false);
      const std::unique_ptr<mm::IoSrc> again = task.mm().NewSrc(out.ranges);  // a packet is sent from its first byte
      return socket.endpoint().Send(*again, to, ancillary, socket.lossy());
    };
    Result<size_t> n = deadline.Passed() ? attempt() : kernel::BlockOn<size_t>(task, socket, abi::kPollOut, PaceOf(socket, deadline), attempt);
    if (!n.ok() && n.error() == Errno::kEAGAIN && !deadline.Passed()) continue;
    if (!n.ok()) {
      if (total > 0) return total;
      return n.error();
    }
    total += *n;
    ancillary = {};
    if (!stream || src->remaining() == 0 || *n == 0) return total;
  }
}

Result<Word> Send(kernel::Task& task, net::Socket& socket, Outgoing out) {
  if ((out.flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  const abi::Ucred own = OwnerOf(task);
  if (out.ancillary.credentials.pid == 0) out.ancillary.credentials = own;
  Result<Word> sent = NoRestart(SendOnce(task, socket, out), socket.send_timeout.load());
  if (!sent.ok() && sent.error() == Errno::kEPIPE && (out.flags & abi::kMsgNosignal) == 0 && socket.type() == abi::kSockStream) {
    abi::SigInfo info;
    info.signo = abi::kSigPipe;
    info.code = abi::kSiUser;
    info.SetSender(own.pid, own.uid);
    (void)task.SendSignal(info);
  }
  return sent;
}

Result<net::RecvResult> Receive(kernel::Task& task, net::Socket& socket, const Ranges& ranges, uint32_t flags) {
  if ((flags & abi::kMsgOob) != 0) return Errno::kEINVAL;
  const std::unique_ptr<mm::IoDst> dst = task.mm().NewDst(ranges);
  const Nanos timeout = socket.receive_timeout.load();
  const Deadline deadline = SocketDeadline(socket, timeout, flags);
  const bool peek = (flags & abi::kMsgPeek) != 0;
  const bool all = (flags & abi::kMsgWaitall) != 0 && socket.type() == abi::kSockStream && !peek;
  const auto attempt = [&] { return socket.endpoint().Receive(*dst, peek); };
  const auto once = [&]() -> Result<net::RecvResult> {
    if (deadline.Passed()) return attempt();
    return kernel::BlockOn<net::RecvResult>(task, socket, abi::kPollIn, deadline, attempt);
  };
  net::RecvResult got = TRY(NoRestart(once(), timeout));
  while (all && got.copied > 0 && dst->remaining() > 0 && got.ancillary.files.empty()) {
    const Result<net::RecvResult> more = once();
    if (!more.ok() || more.value().copied == 0) break;
    got.copied += more.value().copied;
    got.full_length = got.copied;
    got.ancillary.files = more.value().ancillary.files;
  }
  return got;
}

Result<void> ReadControl(kernel::Task& task, const abi::Msghdr& header, net::Ancillary& out) {
  if (header.control_length > 20480) return Errno::kENOBUFS;
  std::vector<std::byte> bytes(header.control_length);
  if (bytes.empty()) return Ok();
  TRY(task.mm().CopyInBytes(header.control, bytes));
  for (size_t at = 0; at + sizeof(abi::Cmsghdr) <= bytes.size();) {
    abi::Cmsghdr c;
    std::memcpy(&c, bytes.data() + at, sizeof(c));
    if (c.length < sizeof(c) || c.length > bytes.size() - at) return Errno::kEINVAL;
    const std::span<const std::byte> data(bytes.data() + at + sizeof(c), c.length - sizeof(c));
    at += std::min<uint64_t>((c.length + 7) & ~uint64_t{7}, bytes.size() - at);
    if (c.level != abi::kSolSocket) continue;
    if (c.type == abi::kScmRights) {
      for (size_t i = 0; i + 4 <= data.size(); i += 4) {
        int32_t fd = 0;
        std::memcpy(&fd, data.data() + i, 4);
        if (out.files.size() >= abi::kMaxScmFds) return Errno::kEINVAL;
        out.files.push_back(TRY(task.fds().Get(Fd{fd})));
      }
    } else if (c.type == abi::kScmCredentials) {
      if (data.size() != sizeof(abi::Ucred)) return Errno::kEINVAL;
      std::memcpy(&out.credentials, data.data(), sizeof(abi::Ucred));
      const auth::Credentials& own = task.creds();
      const abi::Ucred& c2 = out.credentials;
      const bool honest = (c2.pid == task.group().pid() || own.HasCapability(abi::Capability::kSysAdmin)) &&
                          (c2.uid == own.ruid || c2.uid == own.euid || c2.uid == own.suid || own.HasCapability(abi::Capability::kSetuid)) &&
                          (c2.gid == own.rgid || c2.gid == own.egid || c2.gid == own.sgid || own.HasCapability(abi::Capability::kSetgid));
      if (!honest) return Errno::kEPERM;
    } else {
      return Errno::kEINVAL;
    }
  }
  return Ok();
}

void AppendControl(std::vector<std::byte>& out, int32_t type, std::span<const std::byte> data) {
  const abi::Cmsghdr head{sizeof(abi::Cmsghdr) + data.size(), abi::kSolSocket, type};
  const size_t at = out.size();
  out.resize(at + ((head.length + 7) & ~uint64_t{7}));
  std::memcpy(out.data() + at, &head, sizeof(head));
  std::memcpy(out.data() + at + sizeof(head), data.data(), data.size());
}

// The control messages of what was received, into at most `room` bytes. Descriptors that do not fit are dropped: MSG_CTRUNC.
std::vector<std::byte> MakeControl(kernel::Task& task, net::Socket& socket, net::Ancillary& got, uint64_t room, uint32_t flags, uint32_t& shown) {
  std::vector<std::byte> out;
  if (socket.pass_credentials.load()) {
    if (room >= sizeof(abi::Cmsghdr) + sizeof(abi::Ucred)) {
      AppendControl(out, abi::kScmCredentials, std::as_bytes(std::span(&got.credentials, 1)));
    } else {
      shown |= abi::kMsgCtrunc;
    }
  }
  if (got.files.empty()) return out;
  const uint64_t start = out.size() + sizeof(abi::Cmsghdr);
  const size_t fit = room > start ? (room - start) / 4 : 0;
  std::vector<int32_t> numbers;
  for (const Ref<vfs::FileDescription>& file : got.files) {
    if (numbers.size() >= fit) break;
    const Result<Fd> fd = task.fds().Install(file, (flags & abi::kMsgCmsgCloexec) != 0, task.limit(abi::Resource::kNofile));
    if (!fd.ok()) break;
    numbers.push_back(static_cast<int32_t>(*fd));
  }
  if (numbers.size() < got.files.size()) shown |= abi::kMsgCtrunc;
  if (!numbers.empty()) AppendControl(out, abi::kScmRights, std::as_bytes(std::span(numbers)));
  return out;
}

uint32_t ShownFlags(const net::Socket& socket, const net::RecvResult& got) {
  return socket.type() != abi::kSockStream && got.full_length > got.copied ? abi::kMsgTrunc : 0;
}

Word LengthOf(const net::Socket& socket, const net::RecvResult& got, uint32_t flags) {
  return (flags & abi::kMsgTrunc) != 0 && socket.type() != abi::kSockStream ? got.full_length : got.copied;
}

}  // namespace

Result<Word> SysSendto(kernel::Task& task, Fd fd, UserBytes buffer, uint64_t size, uint32_t flags, UserBytes address, int32_t length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  Outgoing out;
  out.ranges = TRY(OneRange(buffer, size));
  if (address != 0) out.to = TRY(ReadAddress(task, address, length));
  out.flags = flags;
  return Send(task, *socket, std::move(out));
}

Result<Word> SysRecvfrom(kernel::Task& task, Fd fd, UserBytes buffer, uint64_t size, uint32_t flags, UserBytes address,
                         UserInOut<int32_t> length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const Ranges ranges = TRY(OneRange(buffer, size));
  const net::RecvResult got = TRY(Receive(task, *socket, ranges, flags));
  TRY(WriteAddress(task, address, length, socket->type() == abi::kSockDgram ? got.from : ""));
  return LengthOf(*socket, got, flags);
}

Result<Word> SysSendmsg(kernel::Task& task, Fd fd, UserIn<abi::Msghdr> message, uint32_t flags) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const abi::Msghdr header = TRY(task.CopyIn(message));
  Outgoing out;
  out.ranges = TRY(ReadRanges(task, header.iov, header.iov_count));
  if (header.name != 0) out.to = TRY(ReadAddress(task, header.name, std::min<int64_t>(header.name_length, 128)));
  if (header.control != 0) TRY(ReadControl(task, header, out.ancillary));
  if (socket->family() != abi::kAfUnix) out.ancillary.files.clear();
  out.flags = flags;
  return Send(task, *socket, std::move(out));
}

Result<Word> SysRecvmsg(kernel::Task& task, Fd fd, UserInOut<abi::Msghdr> message, uint32_t flags) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  abi::Msghdr header = TRY(task.CopyIn(UserIn<abi::Msghdr>(message)));
  const Ranges ranges = TRY(ReadRanges(task, header.iov, header.iov_count));
  net::RecvResult got = TRY(Receive(task, *socket, ranges, flags));
  header.flags = ShownFlags(*socket, got);
  if (header.name != 0) {
    const std::string from = socket->type() == abi::kSockDgram ? got.from : "";
    const size_t n = std::min<size_t>(header.name_length, from.size());
    TRY(task.mm().CopyOutBytes(header.name, std::as_bytes(std::span(from)).first(n)));
    header.name_length = static_cast<uint32_t>(from.size());
  }
  const uint64_t room = header.control != 0 ? header.control_length : 0;
  const std::vector<std::byte> control = MakeControl(task, *socket, got.ancillary, room, flags, header.flags);
  const size_t written = std::min<size_t>(control.size(), room);
  TRY(task.mm().CopyOutBytes(header.control, std::span(control).first(written)));
  header.control_length = written;
  if ((flags & abi::kMsgCmsgCloexec) != 0) header.flags |= abi::kMsgCmsgCloexec;
  TRY(task.CopyOut(UserOut<abi::Msghdr>(message), header));
  return LengthOf(*socket, got, flags);
}

namespace {

UserAddr MessageAt(UserInOut<abi::Mmsghdr> messages, uint32_t i) { return messages.address() + uint64_t{i} * sizeof(abi::Mmsghdr); }

Result<void> TellLength(kernel::Task& task, UserAddr message, Word length) {
  return task.CopyOut(UserOut<uint32_t>(message + sizeof(abi::Msghdr)), static_cast<uint32_t>(length));
}

}  // namespace

// Both stop at the first failure and tell how many went before it.
Result<Word> SysSendmmsg(kernel::Task& task, Fd fd, UserInOut<abi::Mmsghdr> messages, uint32_t count, uint32_t flags) {
  count = std::min<uint32_t>(count, abi::kIovMax);
  for (uint32_t i = 0; i < count; ++i) {
    const UserAddr at = MessageAt(messages, i);
    const Result<Word> sent = SysSendmsg(task, fd, UserIn<abi::Msghdr>(at), flags);
    if (!sent.ok() || !TellLength(task, at, *sent).ok()) {
      if (i > 0) return Word{i};
      return sent.ok() ? Errno::kEFAULT : sent.error();
    }
  }
  return Word{count};
}

Result<Word> SysRecvmmsg(kernel::Task& task, Fd fd, UserInOut<abi::Mmsghdr> messages, uint32_t count, uint32_t flags,
                         UserIn<abi::Timespec> timeout) {
  const Deadline deadline = TRY(ReadTimeout(task, timeout));
  count = std::min<uint32_t>(count, abi::kIovMax);
  for (uint32_t i = 0; i < count; ++i) {
    const UserAddr at = MessageAt(messages, i);
    const Result<Word> got = SysRecvmsg(task, fd, UserInOut<abi::Msghdr>(at), flags & ~abi::kMsgWaitforone);
    if (!got.ok() || !TellLength(task, at, *got).ok()) {
      if (i > 0) return Word{i};
      return got.ok() ? Errno::kEFAULT : got.error();
    }
    if ((flags & abi::kMsgWaitforone) != 0) flags |= abi::kMsgDontwait;
    if (deadline.Passed()) return Word{i + 1};  // as Linux: looked at only after each message
  }
  return Word{count};
}

}  // namespace rampart::syscalls
