// A hostile Gofer: a true server whose replies are changed on their way, as the input says, while the filesystem above is used. Whatever
// arrives, each operation ends with a result or an errno.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "base/log.h"
#include "gofer/server/testing/test_server.h"
#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/fs/gofer/gofer_inode.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

using gofer::FdList;
using gofer::kHeaderSize;
using gofer::MessageSocket;
using gofer::MsgType;
using gofer::MutableBytes;
using gofer::SocketKind;

// The input as a source of decisions; zeros when it is used up.
class Decisions {
 public:
  explicit Decisions(std::span<const uint8_t> input) : input_(input) {}
  uint8_t Byte() {
    if (input_.empty()) return 0;
    const uint8_t byte = input_.front();
    input_ = input_.subspan(1);
    return byte;
  }
  uint32_t Below(uint32_t n) { return (uint32_t{Byte()} | uint32_t{Byte()} << 8) % n; }

 private:
  std::span<const uint8_t> input_;
};

// Between the client's end and the server's.
class Relay {
 public:
  Relay(UniqueFd client, UniqueFd server, std::span<const uint8_t> input)
      : client_(std::move(client), SocketKind::kSeqPacket), server_(std::move(server), SocketKind::kSeqPacket), input_(input), thread_([this] { Run(); }) {}
  ~Relay() { thread_.join(); }

 private:
  void Run() {
    std::vector<std::byte> message(gofer::kMaxMessage + 64);
    while (true) {
      FdList none, fds;
      const auto request = client_.Receive(MutableBytes(message).first(gofer::kMaxMessage), nullptr);
      if (!request.ok()) break;
      const bool lane = static_cast<MsgType>(message[4]) == gofer::Telane::kType;
      const bool version = static_cast<MsgType>(message[4]) == gofer::Tversion::kType;
      if (!server_.Send(gofer::Bytes(message).first(*request), none).ok()) break;
      const auto reply = server_.Receive(MutableBytes(message).first(gofer::kMaxMessage), &fds);
      if (!reply.ok()) break;
      size_t size = *reply;
      if (lane) {  // a lane would pass us by
        fds.Clear();
        size = gofer::EncodeMessage(0, gofer::Rlerror{38}, message);
      } else if (!version && !Spoil(message, size, fds)) {
        break;
      }
      if (!client_.Send(gofer::Bytes(message).first(size), fds).ok()) break;
    }
    client_ = MessageSocket();
    server_ = MessageSocket();
  }

  // False: hangs up.
  bool Spoil(std::vector<std::byte>& message, size_t& size, FdList& fds) {
    const auto some = [&] { return kHeaderSize + (size > kHeaderSize ? input_.Below(static_cast<uint32_t>(size - kHeaderSize)) : 0); };
    switch (input_.Byte() % 24) {
      case 1: message[some()] = static_cast<std::byte>(input_.Byte()); break;
      case 2: message[some()] ^= static_cast<std::byte>(1u << input_.Below(8)); break;
      case 3: {
        constexpr uint64_t kValues[] = {0, 1, ~uint64_t{0}, uint64_t{1} << 63, 0x7fffffffffffffff, 0xffffffff, 0x80000000, 4096, 65536};
        const uint64_t value = kValues[input_.Below(std::size(kValues))];
        const size_t width = size_t{1} << input_.Below(4);
        std::memcpy(message.data() + some(), &value, width);  // there is room beyond
        break;
      }
      case 4: size = some(); break;
      case 5: size = std::min<size_t>(size + 1 + input_.Below(60), gofer::kMaxMessage); break;
      case 6: size = gofer::EncodeMessage(0, gofer::Rlerror{input_.Below(3) == 0 ? 0xffffffffu : input_.Below(600)}, message); break;
      case 7: message[4] = static_cast<std::byte>(input_.Byte()); break;
      case 8: message[5] = static_cast<std::byte>(input_.Byte()); break;
      case 9: fds.Clear(); break;
      case 10: OtherFd(fds); break;
      case 11: fds.Add(UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC))); break;
      case 12: return input_.Byte() != 1;
      case 13: {
        const uint32_t lie = input_.Below(70'000);
        std::memcpy(message.data(), &lie, sizeof(lie));
        return true;  // with a size field that lies
      }
      default: break;
    }
    const auto own = static_cast<uint32_t>(size);
    std::memcpy(message.data(), &own, sizeof(own));
    return true;
  }

  void OtherFd(FdList& fds) {
    fds.Clear();
    int ends[2] = {-1, -1};
    switch (input_.Below(6)) {
      case 0: fds.Add(UniqueFd(::open("/", O_PATH | O_CLOEXEC))); break;
      case 1: fds.Add(UniqueFd(::open("/dev/full", O_RDWR | O_CLOEXEC))); break;
      case 2: fds.Add(UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC))); break;
      case 3: fds.Add(UniqueFd(::memfd_create("other", MFD_CLOEXEC))); break;
      case 4: {
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        fds.Add(UniqueFd(ends[0]));
        ::close(ends[1]);
        break;
      }
      default: {
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
        fds.Add(UniqueFd(ends[0]));
        ::close(ends[1]);
        break;
      }
    }
  }

  MessageSocket client_, server_;
  Decisions input_;
  std::thread thread_;
};

class NullSink final : public vfs::DirentSink {
 public:
  bool Add(std::string_view name, uint64_t, vfs::FileType, uint64_t) override { return name.size() < 5000; }
};

void UseFile(Caller& caller, vfs::FileDescription& file) {
  std::array<std::byte, 300> buffer{};
  mm::BufferDst dst(buffer);
  (void)file.PRead(caller, dst, 0, 0);
  mm::BufferDst far(buffer);
  (void)file.PRead(caller, far, 1 << 20, 0);
  mm::BufferSrc src(buffer);
  uint64_t end = 0;
  (void)file.PWrite(caller, src, 10, 0, &end);
  (void)file.Truncate(caller, 100);
  mm::MMapArgs args;
  args.length = 8192;
  args.shared = true;
  (void)file.ConfigureMMap(caller, args);
}

// Names that are there, and some that are not.
void Use(GoferFilesystem& filesystem, vfs::MountNamespace& mounts) {
  KernelCaller caller;
  const vfs::Walk walk{caller, mounts, mounts.root(), mounts.root()};
  for (int round = 0; round < 2; ++round) {
    for (const char* path : {"/f", "/d/g", "/d", "/link", "/link/g", "/none", "/d/../f", "/p"}) {
      const auto found = vfs::Lookup(walk, path, {.follow_last = round == 0});
      if (!found.ok()) continue;
      (void)vfs::GetAttr(caller, *found);
      (void)vfs::GetXattr(caller, *found, "user.a");
      (void)vfs::ListXattr(caller, *found);
      (void)vfs::ChangeMode(caller, *found, 0755);
    }
    for (const char* path : {"/f", "/d/g", "/new"}) {
      if (auto file = vfs::Open(walk, path, abi::kORdWr | abi::kOCreat, 0644); file.ok()) UseFile(caller, **file);
    }
    if (auto dir = vfs::Open(walk, "/d", abi::kODirectory, 0); dir.ok()) {
      NullSink sink;
      (void)(*dir)->Iterate(caller, sink);
      (void)(*dir)->Iterate(caller, sink);
    }
    (void)vfs::ReadLink(walk, "/link");
    (void)vfs::MakeDirectory(walk, "/made", 0755);
    (void)vfs::MakeSymlink(walk, "/made/s", "target");
    (void)vfs::Rename(walk, "/new", walk, "/made/new", 0);
    (void)vfs::Unlink(walk, "/made/new");
    (void)vfs::RemoveDirectory(walk, "/made");
    (void)filesystem.StatFs(caller);
    (void)filesystem.Sync();
  }
}

void FuzzOne(std::span<const uint8_t> input) {
  gofer::TestServer server(gofer::TestServer::Options{});
  CHECK(::mkdir((server.root() + "/d").c_str(), 0755) == 0);
  gofer::WriteFile(server.root() + "/f", std::string(500, 'f'));
  gofer::WriteFile(server.root() + "/d/g", "text");
  CHECK(::symlink("d", (server.root() + "/link").c_str()) == 0 && ::mkfifo((server.root() + "/p").c_str(), 0644) == 0);
  auto pair = gofer::MakeSocketPair(SocketKind::kSeqPacket);
  CHECK(pair.ok());
  const Relay relay(std::move((*pair)[1]), server.TakeSocket(), input);
  auto connection = GoferConnection::Create(std::move((*pair)[0]));
  if (!connection.ok()) return;
  auto filesystem = GoferFilesystem::Create(std::move(*connection), {.attach = "root", .exclusive = input.empty() || input[0] % 2 == 0});
  if (!filesystem.ok()) return;
  const Ref<vfs::MountNamespace> mounts = vfs::MountNamespace::Create(*filesystem, vfs::MountFlags{}, "none");
  Use(**filesystem, *mounts);
}

}  // namespace
}  // namespace rampart::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = [] {
    rampart::SetLogging(-1, rampart::LogLevel::kError, "fuzz");
    return true;
  }();
  (void)quiet;
  rampart::fs::FuzzOne(std::span(data, size));
  return 0;
}
