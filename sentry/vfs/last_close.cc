// The end of a description's life, and who must hear of it first.
#include "sentry/vfs/file_description.h"

namespace rampart::vfs {

absl::Mutex& LastCloseObserver::LastCloseMutex() {
  static absl::Mutex mu;
  return mu;
}

void FileDescription::AddObserverLocked(LastCloseObserver& observer) {
  observer.prev_ = nullptr;
  observer.next_ = observers_;
  if (observers_ != nullptr) observers_->prev_ = &observer;
  observers_ = &observer;
  observed_.store(true, std::memory_order_release);
}

void FileDescription::RemoveObserverLocked(LastCloseObserver& observer) {
  (observer.prev_ != nullptr ? observer.prev_->next_ : observers_) = observer.next_;
  if (observer.next_ != nullptr) observer.next_->prev_ = observer.prev_;
  observer.next_ = observer.prev_ = nullptr;
}

void FileDescription::OnLastRef() {
  if (observed_.load(std::memory_order_acquire)) {
    absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
    while (observers_ != nullptr) {
      LastCloseObserver* const observer = observers_;
      observer->OnLastClose(*this);
      CHECK(observers_ != observer);
    }
  }
  RefCounted::OnLastRef();
}

}  // namespace rampart::vfs
