#include "sentry/syscalls/aio_context.h"

#include <algorithm>
#include <utility>

#include "base/safe_math.h"

namespace rampart::syscalls {
namespace {

std::atomic_ref<uint32_t> Field(const AioRing& ring, size_t offset) {
  // SAFETY: within the first page of the ring, aligned; the application may write to it at any time.
  return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(ring.At(offset)));
}
std::atomic_ref<uint32_t> Head(const AioRing& ring) { return Field(ring, offsetof(abi::AioRing, head)); }
std::byte* Event(const AioRing& ring, uint32_t index) { return ring.At(sizeof(abi::AioRing) + uint64_t{index} * sizeof(abi::IoEvent)); }

}  // namespace

Result<Ref<AioRing>> AioRing::Create(Ref<mm::MemoryFile> memory, uint64_t length) {
  const mm::FileRange pages = TRY(memory->Allocate(PageUp(length), mm::MemoryFile::Commit::kLazily));
  return MakeRef<AioRing>(std::move(memory), pages);
}

Result<mm::Translation> AioRing::Translate(mm::FileRange required, mm::FileRange optional, bool) {
  if (required.end > pages_.length()) return Errno::kEFAULT;
  const mm::FileRange range{optional.start, std::min(optional.end, pages_.length())};
  const mm::FileRange pages{pages_.start + range.start, pages_.start + range.end};
  memory_->IncRef(pages);
  return mm::Translation{range, memory_, pages.start, platform::Prot::kAll};
}

// IOCB_CMD_POLL that waits.
class AioContext::PollRequest final : public RefCounted, public wait::WaitEntry {
 public:
  PollRequest(Ref<AioContext> c, Ref<vfs::FileDescription> f, uint32_t e, AioRequest r)
      : context(std::move(c)), file(std::move(f)), events(e), request(std::move(r)) {}
  void OnEvent(wait::EventMask) override { context->Note(*this); }

  const Ref<AioContext> context;
  const Ref<vfs::FileDescription> file;
  const uint32_t events;
  const AioRequest request;
  bool noted = false;  // guarded by the context's notes_mu_
};

// Linux: ioctx_alloc, aio_setup_ring.
Result<Ref<AioContext>> AioContext::Create(kernel::Kernel& kernel, uint32_t most) {
  const uint64_t events = uint64_t{std::max(most, kernel.cpus() * 4)} * 2 + 2;
  const Ref<AioRing> ring = TRY(AioRing::Create(kernel.memory_file(), sizeof(abi::AioRing) + events * sizeof(abi::IoEvent)));
  return MakeRef<AioContext>(kernel, ring, most);
}

AioContext::AioContext(kernel::Kernel& kernel, Ref<AioRing> ring, uint32_t most)
    : kernel_(kernel), ring_(std::move(ring)), most_(most),
      count_(static_cast<uint32_t>((ring_->length() - sizeof(abi::AioRing)) / sizeof(abi::IoEvent))), timer_(kernel.timers(), [this] { Flush(); }) {}

AioContext::~AioContext() { kernel_.aio_limits().used.fetch_sub(most_); }

void AioContext::Publish(UserAddr address, uint32_t id) {
  address_ = address;
  const abi::AioRing head{id, count_, 0, 0, abi::kAioRingMagic, 1, 0, sizeof(abi::AioRing)};
  mm::CopyAppMemory(ring_->At(0), &head, sizeof(head));
}

uint32_t AioContext::HeadLocked() const { return Head(*ring_).load(std::memory_order_acquire) % count_; }
uint32_t AioContext::UnreadLocked() const { return (tail_ + count_ - HeadLocked()) % count_; }

Result<void> AioContext::Reserve() {
  absl::MutexLock lock(&mu_);
  if (dead()) return Errno::kEINVAL;
  if (in_flight_ + UnreadLocked() >= count_ - 1) return Errno::kEAGAIN;
  ++in_flight_;
  return Ok();
}

void AioContext::Unreserve() {
  {
    absl::MutexLock lock(&mu_);
    --in_flight_;
  }
  queue_.Notify(abi::kPollIn);
}

bool AioContext::idle() const {
  absl::MutexLock lock(&mu_);
  return in_flight_ == 0;
}

void AioContext::Complete(const AioRequest& request, int64_t result) {
  const abi::IoEvent event{request.data, request.object, result, 0};
  {
    absl::MutexLock lock(&mu_);
    mm::CopyAppMemory(Event(*ring_, tail_), &event, sizeof(event));
    tail_ = (tail_ + 1) % count_;
    Field(*ring_, offsetof(abi::AioRing, tail)).store(tail_, std::memory_order_release);
    --in_flight_;
  }
  if (request.result_fd) request.result_fd->Signal(1);
  queue_.Notify(abi::kPollIn);
}

void AioContext::Poll(Ref<vfs::FileDescription> file, uint32_t events, AioRequest request) {
  const Ref<PollRequest> poll = MakeRef<PollRequest>(ShareRef(this), std::move(file), events, std::move(request));
  {
    absl::MutexLock lock(&mu_);
    if (dead()) {
      --in_flight_;
      return;
    }
    polls_.push_back(poll);
  }
  poll->file->EventRegister(*poll, events);
  Note(*poll);  // it may be ready already
  // Killed or cancelled before it was on the queue: nobody else will take it off.
  if (!Waits(*poll)) poll->file->EventUnregister(*poll);
}

void AioContext::Note(PollRequest& request) {
  {
    absl::MutexLock lock(&notes_mu_);
    if (request.noted) return;
    request.noted = true;
    notes_.push_back(ShareRef(&request));
    if (notes_.size() > 1) return;  // the timer is on its way
  }
  timer_.Arm(Deadline::After(0));
}

bool AioContext::Waits(const PollRequest& request) const {
  absl::MutexLock lock(&mu_);
  return std::any_of(polls_.begin(), polls_.end(), [&](const Ref<PollRequest>& p) { return p.get() == &request; });
}

bool AioContext::Claim(const PollRequest& request) {
  absl::MutexLock lock(&mu_);
  return std::erase_if(polls_, [&](const Ref<PollRequest>& p) { return p.get() == &request; }) != 0;
}

void AioContext::Flush() {
  if (!TryIncRef()) return;
  const Ref<AioContext> self = Ref<AioContext>::Adopt(this);
  std::vector<Ref<PollRequest>> notes;
  {
    absl::MutexLock lock(&notes_mu_);
    notes.swap(notes_);
    for (const Ref<PollRequest>& poll : notes) poll->noted = false;
  }
  for (const Ref<PollRequest>& poll : notes) {
    const wait::EventMask ready = poll->file->Readiness(poll->events);
    if (ready == 0 || !Claim(*poll)) continue;
    poll->file->EventUnregister(*poll);
    Complete(poll->request, ready);
  }
}

bool AioContext::Cancel(uint64_t object) {
  RefPtr<PollRequest> poll;
  {
    absl::MutexLock lock(&mu_);
    const auto found = std::find_if(polls_.begin(), polls_.end(), [&](const Ref<PollRequest>& p) { return p->request.object == object; });
    if (found == polls_.end()) return false;
    poll = *found;
    polls_.erase(found);
  }
  poll->file->EventUnregister(*poll);
  Complete(poll->request, 0);
  return true;
}

std::vector<abi::IoEvent> AioContext::Take(size_t most, uint32_t& first) {
  absl::MutexLock lock(&mu_);
  first = HeadLocked();
  std::vector<abi::IoEvent> events(std::min<size_t>(most, UnreadLocked()));
  uint32_t at = first;
  for (abi::IoEvent& event : events) {
    mm::CopyAppMemory(&event, Event(*ring_, at), sizeof(event));
    at = (at + 1) % count_;
  }
  Head(*ring_).store(at, std::memory_order_release);
  return events;
}

void AioContext::PutBack(uint32_t first, size_t count) {
  absl::MutexLock lock(&mu_);
  if (HeadLocked() == (first + count) % count_) Head(*ring_).store(first, std::memory_order_release);
}

void AioContext::Kill() {
  std::vector<Ref<PollRequest>> polls;
  {
    absl::MutexLock lock(&mu_);
    dead_.store(true, std::memory_order_release);
    polls.swap(polls_);
    in_flight_ -= static_cast<uint32_t>(polls.size());
  }
  for (const Ref<PollRequest>& poll : polls) poll->file->EventUnregister(*poll);
  queue_.Notify(abi::kPollIn | abi::kPollHup);
}

RefPtr<AioTable> AioTable::Of(mm::MemoryManager& mm) {
  const RefPtr<mm::SpaceCompanion> companion = mm.companion();
  return companion ? RefPtr<AioTable>(ShareRef(static_cast<AioTable*>(companion.get()))) : nullptr;
}

RefPtr<AioTable> AioTable::Ensure(mm::MemoryManager& mm) {
  const RefPtr<mm::SpaceCompanion> companion = mm.EnsureCompanion([] { return Ref<mm::SpaceCompanion>(MakeRef<AioTable>()); });
  return companion ? RefPtr<AioTable>(ShareRef(static_cast<AioTable*>(companion.get()))) : nullptr;
}

uint32_t AioTable::Add(const Ref<AioContext>& context, UserAddr address) {
  uint32_t id = 0;
  {
    absl::MutexLock lock(&mu_);
    while (contexts_.contains(id)) ++id;
    context->Publish(address, id);
    if (!gone_) contexts_.emplace(id, context);
  }
  return id;
}

RefPtr<AioContext> AioTable::Find(uint32_t id, UserAddr address) const {
  absl::MutexLock lock(&mu_);
  const auto found = contexts_.find(id);
  if (found == contexts_.end() || found->second->address() != address) return nullptr;
  return found->second;
}

RefPtr<AioContext> AioTable::Remove(uint32_t id, UserAddr address) {
  absl::MutexLock lock(&mu_);
  const auto found = contexts_.find(id);
  if (found == contexts_.end() || found->second->address() != address) return nullptr;
  RefPtr<AioContext> context = found->second;
  contexts_.erase(found);
  return context;
}

void AioTable::SpaceGone() {
  std::map<uint32_t, Ref<AioContext>> contexts;
  {
    absl::MutexLock lock(&mu_);
    gone_ = true;
    contexts.swap(contexts_);
  }
  for (const auto& [id, context] : contexts) context->Kill();
}

}  // namespace rampart::syscalls
