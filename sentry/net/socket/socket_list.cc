#include "sentry/net/socket/socket_list.h"

namespace rampart::net {

SocketList& SocketList::Get() {
  static SocketList* const list = new SocketList;
  return *list;
}

void SocketList::Add(Socket& socket) {
  absl::MutexLock lock(&mu_);
  socket.list_key_ = next_++;
  sockets_.emplace_hint(sockets_.end(), socket.list_key_, &socket);
}

void SocketList::Remove(Socket& socket) {
  absl::MutexLock lock(&mu_);
  if (socket.list_key_ != 0) sockets_.erase(socket.list_key_);
}

std::vector<Ref<Socket>> SocketList::All() {
  std::vector<Ref<Socket>> all;
  absl::MutexLock lock(&mu_);
  all.reserve(sockets_.size());
  for (const auto& [key, socket] : sockets_) {
    if (RefPtr<Socket> ref = TryRef(socket)) all.push_back(std::move(ref).ToRef());
  }
  return all;
}

std::vector<SocketReport> SocketList::Reports(int family) {
  std::vector<SocketReport> reports;
  for (const Ref<Socket>& socket : All()) {
    if (socket->family() != family) continue;
    socket->Report(reports.emplace_back());
    socket->ReportWaiting(reports);
  }
  return reports;
}

}  // namespace rampart::net
