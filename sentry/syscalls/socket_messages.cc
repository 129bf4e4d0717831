// send(2), recv(2) and their kin.
#include <algorithm>
#include <cstring>

#include "sentry/kernel/blocking.h"
#include "sentry/kernel/kernel.h"
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
    if (v.len > INT64_MAX) return Errno::kEINVAL;
    if (v.base + v.len < v.base) return Errno::kEFAULT;
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
  std::vector<net::Control> controls;
  uint32_t flags = 0;
};

uint64_t FileLimit(kernel::Task& task) {
  const auth::Credentials& own = task.creds();
  const bool unlimited = own.HasCapability(abi::Capability::kSysResource) || own.HasCapability(abi::Capability::kSysAdmin);
  return unlimited ? UINT64_MAX : task.limit(abi::Resource::kNofile);
}

Result<Word> SendOnce(kernel::Task& task, net::Socket& socket, Outgoing& out) {
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  const vfs::Walk walk{task, *mounts, task.fs().root(), task.fs().cwd()};
  const Deadline deadline = SocketDeadline(socket, socket.send_timeout.load(), out.flags);
  const bool stream = socket.type() == abi::kSockStream;
  std::unique_ptr<mm::IoSrc> src = task.mm().NewSrc(out.ranges);
  const uint64_t file_limit = out.ancillary.files.empty() ? 0 : FileLimit(task);
  Word total = 0;
  const auto attempt = [&]() -> Result<size_t> {
    if (!stream) src = task.mm().NewSrc(out.ranges);  // a packet is sent from its first byte
    return socket.Send({*src, out.to, &walk, out.ancillary, out.flags, out.controls, file_limit});
  };
  while (true) {
    const Result<size_t> n = deadline.Passed() ? attempt() : kernel::BlockOn<size_t>(task, socket, abi::kPollOut, deadline, attempt);
    if (!n.ok()) {
      if (total > 0) return total;
      return n.error();
    }
    total += *n;
    if (!stream || src->remaining() == 0 || *n == 0) return total;
  }
}

Result<Word> Send(kernel::Task& task, net::Socket& socket, Outgoing out) {
  const auth::Credentials& own = task.creds();
  if (out.ancillary.credentials.pid == 0) out.ancillary.credentials = {task.group().pid(), own.ruid, own.rgid};
  out.ancillary.payer = own.ruid;
  Result<Word> sent = NoRestart(SendOnce(task, socket, out), socket.send_timeout.load());
  if (!sent.ok() && sent.error() == Errno::kEPIPE && (out.flags & abi::kMsgNosignal) == 0 && socket.type() == abi::kSockStream) {
    abi::SigInfo info;
    info.signo = abi::kSigPipe;
    info.code = abi::kSiUser;
    info.SetSender(task.group().own_pid(), own.ruid);
    (void)task.SendSignal(info);
  }
  return sent;
}

Result<net::RecvResult> Receive(kernel::Task& task, net::Socket& socket, const Ranges& ranges, uint32_t flags) {
  const std::unique_ptr<mm::IoDst> dst = task.mm().NewDst(ranges);
  // Nobody waits for the error queue.
  if ((flags & abi::kMsgErrqueue) != 0 && (socket.family() == abi::kAfInet || socket.family() == abi::kAfInet6)) return socket.Receive(*dst, flags);
  const Nanos timeout = socket.receive_timeout.load();
  const Deadline deadline = SocketDeadline(socket, timeout, flags);
  const bool all = (flags & abi::kMsgWaitall) != 0 && socket.type() == abi::kSockStream && (flags & (abi::kMsgPeek | abi::kMsgOob)) == 0;
  const auto attempt = [&] { return socket.Receive(*dst, flags); };
  const auto once = [&]() -> Result<net::RecvResult> {
    if (deadline.Passed()) return attempt();
    return kernel::BlockOn<net::RecvResult>(task, socket, abi::kPollIn, deadline, attempt);
  };
  net::RecvResult got = TRY(NoRestart(once(), timeout));
  got.ancillary.credentials.pid = task.ToOwn(got.ancillary.credentials.pid);
  while (all && got.full_length > 0 && dst->remaining() > 0 && got.ancillary.files.empty()) {
    Result<net::RecvResult> more = once();
    if (!more.ok() || more.value().full_length == 0) break;
    got.copied += more.value().copied;
    got.full_length += more.value().full_length;
    got.ancillary.files = std::move(more.value().ancillary.files);
  }
  return got;
}

Result<void> CheckCredentials(kernel::Task& task, const abi::Ucred& c) {
  const auth::Credentials& own = task.creds();
  const bool honest = (c.pid == task.group().own_pid() || own.HasCapability(abi::Capability::kSysAdmin)) &&
                      (c.uid == own.ruid || c.uid == own.euid || c.uid == own.suid || own.HasCapability(abi::Capability::kSetuid)) &&
                      (c.gid == own.rgid || c.gid == own.egid || c.gid == own.sgid || own.HasCapability(abi::Capability::kSetgid));
  return honest ? Result<void>(Ok()) : Errno::kEPERM;
}

// Takes apart what the application gave as control messages; `bytes` is our copy.
Result<void> ParseControl(kernel::Task& task, std::span<const std::byte> bytes, net::Ancillary& out, std::vector<net::Control>& controls) {
  for (size_t at = 0; at + sizeof(abi::Cmsghdr) <= bytes.size();) {
    abi::Cmsghdr c;
    std::memcpy(&c, bytes.data() + at, sizeof(c));
    if (c.length < sizeof(c) || c.length > bytes.size() - at) return Errno::kEINVAL;
    const std::span<const std::byte> data(bytes.data() + at + sizeof(c), c.length - sizeof(c));
    at += std::min<uint64_t>((c.length + 7) & ~uint64_t{7}, bytes.size() - at);
    if (c.level != abi::kSolSocket) {
      controls.push_back({c.level, c.type, std::string(reinterpret_cast<const char*>(data.data()), data.size())});  // SAFETY: bytes
      continue;
    }
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
      TRY(CheckCredentials(task, out.credentials));
      out.credentials.pid = out.credentials.pid > 0 ? task.FromOwn(out.credentials.pid) : 0;
      if (out.credentials.pid == 0 || !task.kernel().IsTaken(out.credentials.pid)) return Errno::kESRCH;
    } else {
      return Errno::kEINVAL;
    }
  }
  return Ok();
}

Result<void> ReadControl(kernel::Task& task, const abi::Msghdr& header, net::Ancillary& out, std::vector<net::Control>& controls) {
  constexpr uint64_t kMaxControl = 20480;  // net.core.optmem_max
  if (header.control_length > kMaxControl) return Errno::kENOBUFS;
  if (header.control_length == 0) return Ok();
  const std::vector<std::byte> bytes = TRY(task.mm().CopyInArray(UserIn<std::byte>(header.control), header.control_length, kMaxControl));
  return ParseControl(task, bytes, out, controls);
}

void AppendControl(std::vector<std::byte>& out, int32_t level, int32_t type, std::span<const std::byte> data) {
  const abi::Cmsghdr head{sizeof(abi::Cmsghdr) + data.size(), level, type};
  const size_t at = out.size();
  out.resize(at + ((head.length + 7) & ~uint64_t{7}));
  std::memcpy(out.data() + at, &head, sizeof(head));
  std::copy(data.begin(), data.end(), out.begin() + static_cast<std::ptrdiff_t>(at + sizeof(head)));
}

// Cut to `room`, as Linux does (put_cmsg): MSG_CTRUNC.
void PutControl(std::vector<std::byte>& out, int32_t level, int32_t type, std::span<const std::byte> data, uint64_t room, uint32_t& shown) {
  const uint64_t left = room - std::min<uint64_t>(room, out.size());
  const size_t fit = left < sizeof(abi::Cmsghdr) ? 0 : std::min<size_t>(left - sizeof(abi::Cmsghdr), data.size());
  if (left < sizeof(abi::Cmsghdr) || fit < data.size()) shown |= abi::kMsgCtrunc;
  if (left >= sizeof(abi::Cmsghdr)) AppendControl(out, level, type, data.first(fit));
}

// The control messages of what was received, into at most `room` bytes. Descriptors that do not fit are dropped: MSG_CTRUNC.
std::vector<std::byte> MakeControl(kernel::Task& task, net::Socket& socket, net::RecvResult& got, uint64_t room, uint32_t flags, uint32_t& shown) {
  std::vector<std::byte> out;
  if (socket.pass_credentials.load()) {
    PutControl(out, abi::kSolSocket, abi::kScmCredentials, std::as_bytes(std::span(&got.ancillary.credentials, 1)), room, shown);
  }
  for (const net::Control& c : got.controls) PutControl(out, c.level, c.type, std::as_bytes(std::span(c.bytes)), room, shown);
  const net::Files& files = got.ancillary.files;
  if (files.empty()) return out;
  const uint64_t start = out.size() + sizeof(abi::Cmsghdr);
  const size_t fit = room > start ? (room - start) / 4 : 0;
  std::vector<int32_t> numbers;
  for (const Ref<vfs::FileDescription>& file : files) {
    if (numbers.size() >= fit) break;
    const Result<Fd> fd = task.fds().Install(file, (flags & abi::kMsgCmsgCloexec) != 0, task.limit(abi::Resource::kNofile));
    if (!fd.ok()) break;
    numbers.push_back(static_cast<int32_t>(*fd));
  }
  if (numbers.size() < files.size()) shown |= abi::kMsgCtrunc;
  if (!numbers.empty()) AppendControl(out, abi::kSolSocket, abi::kScmRights, std::as_bytes(std::span(numbers)));
  return out;
}

Word LengthOf(const net::Socket& socket, const net::RecvResult& got, uint32_t flags) {
  const bool whole = (flags & abi::kMsgTrunc) != 0 && (socket.type() != abi::kSockStream || socket.protocol() == abi::kIpprotoTcp);
  return whole ? got.full_length : got.copied;
}

}  // namespace

Result<Word> ReadSocket(kernel::Task& task, net::Socket& socket, std::vector<mm::AddrRange> ranges, bool nowait) {
  const net::RecvResult got = TRY(Receive(task, socket, ranges, nowait ? abi::kMsgDontwait : 0));
  return got.copied;
}

Result<Word> WriteSocket(kernel::Task& task, net::Socket& socket, std::vector<mm::AddrRange> ranges, bool nowait) {
  Outgoing out;
  out.ranges = std::move(ranges);
  out.flags = nowait ? abi::kMsgDontwait : 0;
  return Send(task, socket, std::move(out));
}

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
  TRY(WriteAddress(task, address, length, got.from));
  return LengthOf(*socket, got, flags);
}

Result<Word> SysSendmsg(kernel::Task& task, Fd fd, UserIn<abi::Msghdr> message, uint32_t flags) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const abi::Msghdr header = TRY(task.CopyIn(message));
  if (header.name_length > INT32_MAX) return Errno::kEINVAL;
  Outgoing out;
  out.ranges = TRY(ReadRanges(task, header.iov, header.iov_count));
  if (header.name != 0) out.to = TRY(ReadAddress(task, header.name, std::min<int64_t>(header.name_length, 128)));
  TRY(socket->CheckBeforeControl());
  if (header.control != 0) TRY(ReadControl(task, header, out.ancillary, out.controls));
  if (socket->family() != abi::kAfUnix) out.ancillary.files.clear();
  out.flags = flags;
  return Send(task, *socket, std::move(out));
}

Result<Word> SysRecvmsg(kernel::Task& task, Fd fd, UserInOut<abi::Msghdr> message, uint32_t flags) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  abi::Msghdr header = TRY(task.CopyIn(UserIn<abi::Msghdr>(message)));
  if (header.name_length > INT32_MAX) return Errno::kEINVAL;
  const Ranges ranges = TRY(ReadRanges(task, header.iov, header.iov_count));
  net::RecvResult got = TRY(Receive(task, *socket, ranges, flags));
  header.flags = got.flags;
  if (header.name != 0) {
    const size_t n = std::min<size_t>(header.name_length, got.from.size());
    TRY(task.mm().CopyOutBytes(header.name, std::as_bytes(std::span(got.from)).first(n)));
    header.name_length = static_cast<uint32_t>(got.from.size());
  }
  const uint64_t room = header.control != 0 ? header.control_length : 0;
  const std::vector<std::byte> control = MakeControl(task, *socket, got, room, flags, header.flags);
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
