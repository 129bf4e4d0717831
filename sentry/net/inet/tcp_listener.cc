#include "sentry/net/inet/tcp_listener.h"

#include <optional>

namespace rampart::net {
namespace {

constexpr size_t kMaxPending = 4096;  // net.ipv4.tcp_max_syn_backlog: more are refused at once
constexpr wait::EventMask kAll = kIn | kOut | abi::kPollErr | abi::kPollHup | abi::kPollRdHup;
using State = TcpHandshake::State;

}  // namespace

void TcpListener::SetLimit(size_t limit) {
  absl::MutexLock lock(&mu_);
  limit_ = limit;
}

void TcpListener::Refuse(const TcpEnd& end, bool established) {
  end.client->SetError(established ? Errno::kECONNRESET : Errno::kECONNREFUSED);
  end.handshake->state.store(established ? State::kEstablished : State::kRefused, std::memory_order_release);
  end.tx->Reset();
  end.rx->Break();
  end.rx->CloseReader();
  end.client->Notify(kAll);
}

void TcpListener::Offer(TcpEnd end) {
  bool told = false, refused = false;
  const Ref<Side> client = end.client;
  {
    absl::MutexLock lock(&mu_);
    refused = closed_ || pending_.size() >= kMaxPending;
    if (!refused && backlog_.size() <= limit_) {
      end.handshake->state.store(State::kEstablished, std::memory_order_release);
      backlog_.push_back(std::move(end));
      told = true;
    } else if (!refused) {
      pending_.push_back(std::move(end));
    }
  }
  if (refused) Refuse(end, false);
  if (!told) return;
  client->Notify(kOut);
  side_->Notify(kIn);
}

Result<TcpEnd> TcpListener::Take() {
  std::optional<TcpEnd> taken;
  RefPtr<Side> completed;
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return Errno::kEINVAL;
    if (backlog_.empty()) return Errno::kEAGAIN;
    taken = std::move(backlog_.front());
    backlog_.pop_front();
    if (!pending_.empty()) {
      completed = pending_.front().client;
      pending_.front().handshake->state.store(State::kEstablished, std::memory_order_release);
      backlog_.push_back(std::move(pending_.front()));
      pending_.pop_front();
    }
  }
  if (completed) completed->Notify(kOut);
  return std::move(*taken);
}

void TcpListener::Close() {
  std::deque<TcpEnd> backlog, pending;
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    backlog.swap(backlog_);
    pending.swap(pending_);
  }
  for (const TcpEnd& end : backlog) Refuse(end, true);
  for (const TcpEnd& end : pending) Refuse(end, false);
  side_->Notify(kAll);
}

std::vector<TcpEnd> TcpListener::Waiting() const {
  absl::MutexLock lock(&mu_);
  return {backlog_.begin(), backlog_.end()};
}

size_t TcpListener::waiting() const {
  absl::MutexLock lock(&mu_);
  return backlog_.size();
}

}  // namespace rampart::net
