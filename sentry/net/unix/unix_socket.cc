#include "sentry/net/unix/unix_socket.h"

#include <cstdio>

#include "absl/container/flat_hash_map.h"

namespace rampart::net {
namespace {

constexpr size_t kPathMax = 108;

// Abstract names, and bound inodes. Weak: a socket takes itself out.
struct Names {
  absl::Mutex mu;
  absl::flat_hash_map<std::string, Endpoint*> abstract ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<const vfs::Inode*, Endpoint*> inodes ABSL_GUARDED_BY(mu);
  uint32_t last_auto ABSL_GUARDED_BY(mu) = 0;
};
Names& TheNames() {
  static Names* const names = new Names;
  return *names;
}

// The part of sockaddr_un after the family. EINVAL.
Result<std::string_view> NameOf(std::string_view address) {
  if (address.size() < 2 || address.size() > 2 + kPathMax) return Errno::kEINVAL;
  const int family = static_cast<unsigned char>(address[0]) | static_cast<unsigned char>(address[1]) << 8;
  if (family != abi::kAfUnix) return Errno::kEINVAL;
  std::string_view name = address.substr(2);
  if (!name.empty() && name[0] != '\0') name = name.substr(0, name.find('\0'));
  return name;
}

std::string AddressOf(std::string_view name, bool path) {
  std::string address{static_cast<char>(abi::kAfUnix), '\0'};
  address += name;
  if (path) address += '\0';
  return address;
}

class UnixSocket final : public Socket {
 public:
  UnixSocket(const Caller& caller, int type, uint32_t flags, abi::Ucred owner, Ref<Endpoint> end)
      : Socket(abi::kAfUnix, type, 0, flags, std::move(end), caller), owner_(owner) {}

  Result<void> Bind(const vfs::Walk& walk, std::string_view address) override {
    const std::string_view name = TRY(NameOf(address));
    absl::MutexLock lock(&bind_mu_);
    if (!LocalName().empty()) return Errno::kEINVAL;
    if (name.empty()) return BindAutomatically();
    if (name[0] == '\0') return BindAbstract(std::string(name));
    Result<vfs::Path> made = vfs::BindSocketNode(walk, name, 0777);
    if (!made.ok()) return made.error() == Errno::kEEXIST ? Errno::kEADDRINUSE : made.error();
    Names& names = TheNames();
    absl::MutexLock table(&names.mu);
    bound_ = *made;
    names.inodes[bound_->dentry->inode().get()] = &endpoint();
    endpoint().SetName(AddressOf(name, true));
    return Ok();
  }
  Result<void> Listen(Caller&, int backlog) override {
    if (type() == abi::kSockDgram) return Errno::kEOPNOTSUPP;
    if (LocalName().empty()) return Errno::kEINVAL;
    return endpoint().Listen(backlog);
  }
  Result<void> Connect(const vfs::Walk& walk, std::string_view address) override {
    if (type() == abi::kSockDgram && address.size() >= 2 && address[0] == 0 && address[1] == 0) {
      endpoint().SetDatagramPeer(nullptr, "");
      return Ok();
    }
    const Ref<Endpoint> target = TRY(Target(walk, address));
    if (type() == abi::kSockDgram) {
      if (target->kind() != endpoint().kind()) return Errno::kEPROTOTYPE;
      endpoint().SetDatagramPeer(target, target->name());
      return Ok();
    }
    return endpoint().Connect(*target, target->name());
  }
  Result<Ref<Endpoint>> Target(const vfs::Walk& walk, std::string_view address) override {
    const std::string_view name = TRY(NameOf(address));
    if (name.empty()) return Errno::kEINVAL;
    Names& names = TheNames();
    if (name[0] == '\0') {
      absl::MutexLock table(&names.mu);
      const auto it = names.abstract.find(std::string(name));
      RefPtr<Endpoint> found = it == names.abstract.end() ? nullptr : TryRef(it->second);
      if (!found) return Errno::kECONNREFUSED;
      return std::move(found).ToRef();
    }
    const vfs::Path path = TRY(vfs::Lookup(walk, name, {}));
    TRY(vfs::CheckAccess(walk.caller, path, vfs::Access::kWrite));
    absl::MutexLock table(&names.mu);
    const auto it = names.inodes.find(path.dentry->inode().get());
    RefPtr<Endpoint> found = it == names.inodes.end() ? nullptr : TryRef(it->second);
    if (!found) return Errno::kECONNREFUSED;
    return std::move(found).ToRef();
  }
  Ref<Socket> Accepted(const Caller& caller, Ref<Endpoint> end, uint32_t flags) override {
    return MakeRef<UnixSocket>(caller, type(), flags, owner_, std::move(end));
  }

 protected:
  ~UnixSocket() override {
    Names& names = TheNames();
    absl::MutexLock table(&names.mu);
    if (!abstract_.empty()) names.abstract.erase(abstract_);
    if (bound_) names.inodes.erase(bound_->dentry->inode().get());
  }

 private:
  Result<void> BindAbstract(std::string name) {
    Names& names = TheNames();
    absl::MutexLock table(&names.mu);
    if (!names.abstract.try_emplace(name, &endpoint()).second) return Errno::kEADDRINUSE;
    endpoint().SetName(AddressOf(name, false));
    abstract_ = std::move(name);
    return Ok();
  }
  Result<void> BindAutomatically() {
    for (int tries = 0; tries < 1 << 20; ++tries) {
      char name[8] = {};
      {
        Names& names = TheNames();
        absl::MutexLock table(&names.mu);
        std::snprintf(name + 1, sizeof(name) - 1, "%05x", ++names.last_auto & 0xfffff);
      }
      if (BindAbstract(std::string(name, 6)).ok()) return Ok();
    }
    return Errno::kENOSPC;
  }

  const abi::Ucred owner_;
  absl::Mutex bind_mu_;
  std::string abstract_;               // written once under bind_mu_ and the table's lock
  std::optional<vfs::Path> bound_;     // likewise; keeps the inode
};

Result<void> CheckType(int& type, int protocol) {
  if (protocol != 0 && protocol != abi::kAfUnix) return Errno::kEPROTONOSUPPORT;
  if (type == 3) type = abi::kSockDgram;  // SOCK_RAW, as Linux
  if (type != abi::kSockStream && type != abi::kSockDgram && type != abi::kSockSeqpacket) return Errno::kESOCKTNOSUPPORT;
  return Ok();
}

}  // namespace

Result<Ref<Socket>> NewUnixSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags) {
  TRY(CheckType(type, protocol));
  return Ref<Socket>(MakeRef<UnixSocket>(caller, type, flags, owner, MakeRef<Endpoint>(KindOf(type), owner)));
}

Result<std::pair<Ref<Socket>, Ref<Socket>>> NewUnixPair(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags) {
  Ref<Socket> a = TRY(NewUnixSocket(caller, owner, type, protocol, flags));
  Ref<Socket> b = TRY(NewUnixSocket(caller, owner, type, protocol, flags));
  Endpoint::Pair(a->endpoint(), b->endpoint());
  return std::pair(std::move(a), std::move(b));
}

}  // namespace rampart::net
