// Intrusive reference counting for kernel objects: RefCounted, Ref<T> (never null), RefPtr<T> (may be null).
//
//   class Inode : public RefCounted { ... };
//   Ref<Inode> a = MakeRef<Inode>(...);      // count 1
//   RefPtr<Inode> b = a;                     // count 2
//   RefPtr<Inode> c = TryRef(raw);           // from a weak table: null when the count has already reached zero
//
// A weak table must remove an object, under its own lock, no later than in the object's OnLastRef() or destructor; TryRef under that
// lock is then safe. Thread safety: counts are atomic; a Ref object itself is as thread-safe as a pointer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace rampart {

class RefCounted {
 public:
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void IncRef() const { refs_.fetch_add(1, std::memory_order_relaxed); }
  void DecRef() const {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) const_cast<RefCounted*>(this)->OnLastRef();
  }
  // False when the object is already dying.
  bool TryIncRef() const {
    uint32_t refs = refs_.load(std::memory_order_relaxed);
    while (refs != 0) {
      if (refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  uint32_t RefCountForTesting() const { return refs_.load(std::memory_order_acquire); }

 protected:
  RefCounted() = default;
  virtual ~RefCounted() = default;
  // Runs when the count reaches zero; the default deletes the object.
  virtual void OnLastRef() { delete this; }

 private:
  mutable std::atomic<uint32_t> refs_{1};
};

template <class T>
class RefPtr;

// Owns one reference, never null (except after having been moved from, when only destruction and assignment are allowed).
template <class T>
class Ref {
 public:
  // Takes over one reference that the caller holds. REQUIRES: p is not null.
  static Ref Adopt(T* p) {
    CHECK(p != nullptr);
    return Ref(p);
  }
  // Takes a new reference. REQUIRES: the caller keeps p alive during the call.
  static Ref Share(T* p) {
    CHECK(p != nullptr);
    p->IncRef();
    return Ref(p);
  }
  Ref(const Ref& o) : p_(o.p_) { p_->IncRef(); }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  Ref(const Ref<U>& o) : p_(o.get()) {  // NOLINT: implicit upcast
    p_->IncRef();
  }
  template <class U>
    requires std::is_convertible_v<U*, T*>
  Ref(Ref<U>&& o) noexcept : p_(o.Leak()) {}  // NOLINT: implicit upcast
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ != nullptr) p_->DecRef();
  }
  T* get() const { return p_; }
  T& operator*() const { return *p_; }
  T* operator->() const { return p_; }
  // Gives the reference up to the caller.
  [[nodiscard]] T* Leak() { return std::exchange(p_, nullptr); }
  template <class U>
  bool operator==(const Ref<U>& o) const {
    return p_ == o.get();
  }

 private:
  explicit Ref(T* p) : p_(p) {}
  T* p_;
};

template <class T>
class RefPtr {
 public:
  RefPtr() = default;
  RefPtr(std::nullptr_t) {}  // NOLINT: implicit by design
  static RefPtr Adopt(T* p) {
    RefPtr r;
    r.p_ = p;
    return r;
  }
  RefPtr(const RefPtr& o) : p_(o.p_) {
    if (p_ != nullptr) p_->IncRef();
  }
  RefPtr(RefPtr&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  RefPtr(const Ref<U>& o) : p_(o.get()) {  // NOLINT: implicit by design
    p_->IncRef();
  }
  template <class U>
    requires std::is_convertible_v<U*, T*>
  RefPtr(Ref<U>&& o) noexcept : p_(o.Leak()) {}  // NOLINT: implicit by design
  template <class U>
    requires(std::is_convertible_v<U*, T*> && !std::is_same_v<U, T>)
  RefPtr(const RefPtr<U>& o) : p_(o.get()) {  // NOLINT: implicit upcast
    if (p_ != nullptr) p_->IncRef();
  }
  RefPtr& operator=(RefPtr o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~RefPtr() {
    if (p_ != nullptr) p_->DecRef();
  }
  T* get() const { return p_; }
  T& operator*() const {
    CHECK(p_ != nullptr);
    return *p_;
  }
  T* operator->() const {
    CHECK(p_ != nullptr);
    return p_;
  }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(std::nullptr_t) const { return p_ == nullptr; }
  bool operator==(const RefPtr& o) const { return p_ == o.p_; }
  [[nodiscard]] T* Leak() { return std::exchange(p_, nullptr); }
  // REQUIRES: not null.
  Ref<T> ToRef() const& { return Ref<T>::Share(p_); }
  Ref<T> ToRef() && { return Ref<T>::Adopt(std::exchange(p_, nullptr)); }

 private:
  T* p_ = nullptr;
};

template <class T, class... Args>
Ref<T> MakeRef(Args&&... args) {
  return Ref<T>::Adopt(new T(std::forward<Args>(args)...));
}

// From a raw pointer found in a weak table.
template <class T>
RefPtr<T> TryRef(T* p) {
  if (p == nullptr || !p->TryIncRef()) return nullptr;
  return RefPtr<T>::Adopt(p);
}

// From `this` or another pointer that is known to be alive.
template <class T>
Ref<T> ShareRef(T* p) {
  return Ref<T>::Share(p);
}

}  // namespace rampart
