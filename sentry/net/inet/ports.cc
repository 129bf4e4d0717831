#include "sentry/net/inet/ports.h"

#include <algorithm>

namespace rampart::net {
namespace {

constexpr uint16_t kFirstEphemeral = 32768, kLastEphemeral = 60999;

// Whether two bindings on one port meet.
bool Overlap(const PortHolder& a, const InetAddress& address, bool v6_only) {
  if (a.address.ip == address.ip) return true;
  const bool a_any = a.address.IsAny(), b_any = address.IsAny();
  if (!a_any && !b_any) return false;
  const bool a_both = a.address.ip == Bytes16{} && !a.v6_only, b_both = address.ip == Bytes16{} && !v6_only;
  if (a.address.IsV4() == address.IsV4()) return true;
  return (a_any && a_both) || (b_any && b_both);
}

bool Reaches(const PortHolder& h, const InetAddress& to) {
  if (h.socket.family() == abi::kAfInet && !to.IsV4()) return false;
  if (h.socket.family() == abi::kAfInet6 && h.v6_only && to.IsV4()) return false;
  return h.address.ip == to.ip || (h.address.IsAny() && (h.address.IsV4() == to.IsV4() || h.address.ip == Bytes16{}));
}

}  // namespace

PortTable& PortTable::Get() {
  static PortTable* const table = new PortTable;
  return *table;
}

PortTable::Port* PortTable::Find(int protocol, uint16_t port) {
  const auto it = ports_.find(static_cast<uint32_t>(protocol) << 16 | port);
  return it == ports_.end() ? nullptr : &it->second;
}

bool PortTable::Free(const PortHolder& holder, const InetAddress& address) {
  const Port* const port = Find(holder.socket.protocol(), address.port);
  if (port == nullptr) return true;
  const bool datagram = holder.socket.type() == abi::kSockDgram;
  const bool reuse = holder.socket.reuse_address.load(), share = holder.socket.reuse_port.load();
  if (port->connections > 0 && !share && (!reuse || port->strict_connections > 0)) return false;
  return std::all_of(port->holders.begin(), port->holders.end(), [&](const PortHolder* h) {
    if (!Overlap(*h, address, holder.v6_only)) return true;
    if (share && h->socket.reuse_port.load() && h->owner == holder.owner) return true;
    return reuse && h->socket.reuse_address.load() && (datagram || !h->listener);
  });
}

Result<void> PortTable::Bind(PortHolder& holder, InetAddress address) {
  if (holder.bound) return Errno::kEINVAL;
  if (address.port == 0) {
    if (next_ == 0) next_ = static_cast<uint16_t>(kFirstEphemeral + RealtimeNow() / 1000 % 20000);
    for (int tries = kFirstEphemeral; tries <= kLastEphemeral && address.port == 0; ++tries) {
      next_ = next_ >= kLastEphemeral ? kFirstEphemeral : static_cast<uint16_t>(next_ + 1);
      if (Find(holder.socket.protocol(), next_) == nullptr) address.port = next_;
    }
    if (address.port == 0) return Errno::kEADDRINUSE;
  } else if (!Free(holder, address)) {
    return Errno::kEADDRINUSE;
  }
  holder.address = address;
  holder.bound = true;
  ports_[KeyOf(holder.socket, address.port)].holders.push_back(&holder);
  return Ok();
}

void PortTable::Unbind(PortHolder& holder) {
  if (!holder.bound) return;
  const auto it = ports_.find(KeyOf(holder.socket, holder.address.port));
  std::erase(it->second.holders, &holder);
  if (it->second.holders.empty() && it->second.connections == 0) ports_.erase(it);
  holder.bound = false;
}

Result<void> PortTable::CheckListen(const PortHolder& holder) {
  const Port* const port = Find(holder.socket.protocol(), holder.address.port);
  for (const PortHolder* h : port->holders) {
    if (h == &holder || !h->listener || !Overlap(*h, holder.address, holder.v6_only)) continue;
    if (holder.socket.reuse_port.load() && h->socket.reuse_port.load() && h->owner == holder.owner) continue;
    return Errno::kEADDRINUSE;
  }
  return Ok();
}

void PortTable::AddConnection(uint16_t port, bool reuse) {
  Port& p = ports_[static_cast<uint32_t>(abi::kIpprotoTcp) << 16 | port];
  ++p.connections;
  if (!reuse) ++p.strict_connections;
}

void PortTable::RemoveConnection(uint16_t port, bool reuse) {
  const auto it = ports_.find(static_cast<uint32_t>(abi::kIpprotoTcp) << 16 | port);
  --it->second.connections;
  if (!reuse) --it->second.strict_connections;
  if (it->second.holders.empty() && it->second.connections == 0) ports_.erase(it);
}

RefPtr<TcpListener> PortTable::FindListener(const InetAddress& to, const InetAddress& from) {
  const Port* const port = Find(abi::kIpprotoTcp, to.port);
  if (port == nullptr) return nullptr;
  std::vector<const PortHolder*> best;
  bool best_exact = false;
  for (const PortHolder* h : port->holders) {
    if (!h->listener || !Reaches(*h, to)) continue;
    const bool exact = h->address.ip == to.ip;
    if (exact && !best_exact) best.clear();
    if (exact == (best_exact = best_exact || exact)) best.push_back(h);
  }
  if (best.empty()) return nullptr;
  return best[from.port * size_t{2654435761} / 65536 % best.size()]->listener;
}

PortHolder* PortTable::FindDatagram(int protocol, const InetAddress& to, const InetAddress& from) {
  Port* const port = Find(protocol, to.port);
  if (port == nullptr) return nullptr;
  std::vector<PortHolder*> best;
  int best_score = 0;
  for (PortHolder* h : port->holders) {
    if (!Reaches(*h, to)) continue;
    if (h->connected && h->peer != from) continue;
    const int score = 1 + (h->address.ip == to.ip ? 2 : 0) + (h->connected ? 4 : 0);
    if (score > best_score) best.clear(), best_score = score;
    if (score == best_score) best.push_back(h);
  }
  if (best.empty()) return nullptr;
  const bool spread = best.size() > 1 && best.front()->socket.reuse_port.load();
  // Without SO_REUSEPORT the socket that was bound last gets it, as on Linux.
  return spread ? best[from.port * size_t{2654435761} / 65536 % best.size()] : best.back();
}

std::vector<PortHolder*> PortTable::FindAll(int protocol, const InetAddress& to) {
  std::vector<PortHolder*> all;
  Port* const port = Find(protocol, to.port);
  if (port == nullptr) return all;
  for (PortHolder* h : port->holders) {
    if (to.IsMulticast()) {
      const bool member = std::any_of(h->groups.begin(), h->groups.end(), [&](const InetAddress& g) { return g.ip == to.ip; });
      if (member && (h->address.IsAny() || h->address.ip == to.ip)) all.push_back(h);
    } else if (h->address.ip == to.ip || (h->address.IsAny() && Reaches(*h, to))) {
      all.push_back(h);
    }
  }
  return all;
}

}  // namespace rampart::net
