#include "sentry/net/socket/in_flight.h"

#include <atomic>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "sentry/net/socket/socket.h"

namespace rampart::net {
namespace {

struct InFlight {
  absl::flat_hash_map<abi::Uid, size_t> by_user;
  absl::flat_hash_map<Socket*, uint32_t> sockets;  // how many references of each are in queues
  size_t total = 0;
};
// Guarded by InFlightMutex().
InFlight& State() {
  static InFlight* const state = new InFlight;
  return *state;
}
std::atomic<size_t> g_sockets{0};  // size of State().sockets, to ask without the lock
std::atomic<bool> g_collecting{false};

// Sockets that are in `socket`'s queues, once for each reference.
template <class F>
void EachChild(Socket& socket, F f) {
  socket.ForEachQueuedFile([&](vfs::FileDescription& file) {
    if (auto* const child = dynamic_cast<Socket*>(&file)) f(child);
  });
}

// The sockets that nothing but queues of such sockets keeps.
absl::flat_hash_set<Socket*> Garbage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex()) {
  absl::flat_hash_map<Socket*, uint32_t> unexplained;  // references that are in queues of reachable sockets, as far as is known
  for (const auto& [socket, count] : State().sockets) {
    // No new reference can be made from one that is in a queue without InFlightMutex, so that equality is stable.
    if (socket->RefCountForTesting() == count) unexplained[socket] = count;
  }
  if (unexplained.empty()) return {};
  absl::flat_hash_set<Socket*> garbage;
  for (const auto& [socket, count] : unexplained) garbage.insert(socket);
  for (Socket* const socket : garbage) {
    EachChild(*socket, [&](Socket* child) {
      const auto it = unexplained.find(child);
      if (it != unexplained.end()) --it->second;
    });
  }
  std::vector<Socket*> alive;
  for (const auto& [socket, count] : unexplained) {
    if (count > 0) alive.push_back(socket);
  }
  for (Socket* const socket : alive) garbage.erase(socket);
  while (!alive.empty()) {
    Socket* const socket = alive.back();
    alive.pop_back();
    EachChild(*socket, [&](Socket* child) {
      if (garbage.erase(child) > 0) alive.push_back(child);
    });
  }
  return garbage;
}

}  // namespace

absl::Mutex& InFlightMutex() {
  static absl::Mutex mu;
  return mu;
}

Result<void> CheckInFlight(const Ancillary& ancillary, uint64_t limit) {
  if (ancillary.files.empty()) return Ok();
  const InFlight& state = State();
  if (state.total + ancillary.files.size() > kMaxInFlight) return Errno::kETOOMANYREFS;
  const auto it = state.by_user.find(ancillary.payer);
  if (it != state.by_user.end() && it->second > limit) return Errno::kETOOMANYREFS;
  return Ok();
}

void CountIn(const Ancillary& ancillary) {
  if (ancillary.files.empty()) return;
  InFlight& state = State();
  state.total += ancillary.files.size();
  state.by_user[ancillary.payer] += ancillary.files.size();
  for (const Ref<vfs::FileDescription>& file : ancillary.files) {
    if (auto* const socket = dynamic_cast<Socket*>(file.get())) ++state.sockets[socket];
  }
  g_sockets.store(state.sockets.size(), std::memory_order_release);
}

void CountOut(const Ancillary& ancillary) {
  if (ancillary.files.empty()) return;
  InFlight& state = State();
  state.total -= ancillary.files.size();
  const auto user = state.by_user.find(ancillary.payer);
  user->second -= ancillary.files.size();
  if (user->second == 0) state.by_user.erase(user);
  for (const Ref<vfs::FileDescription>& file : ancillary.files) {
    auto* const socket = dynamic_cast<Socket*>(file.get());
    if (socket == nullptr) continue;
    const auto it = state.sockets.find(socket);
    if (--it->second == 0) state.sockets.erase(it);
  }
  g_sockets.store(state.sockets.size(), std::memory_order_release);
}

void CollectCycles() {
  if (g_sockets.load(std::memory_order_acquire) == 0) return;
  if (g_collecting.exchange(true, std::memory_order_acquire)) return;  // what is dropped below closes sockets
  Files doomed;
  {
    absl::MutexLock lock(&InFlightMutex());
    for (Socket* const socket : Garbage()) socket->TakeQueuedFiles(doomed);
  }
  doomed.clear();
  g_collecting.store(false, std::memory_order_release);
}

}  // namespace rampart::net
