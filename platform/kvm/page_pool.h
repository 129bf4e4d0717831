// PagePool: the pages that ring 0 and the page tables of all spaces are made of: anonymous memory of the Sentry, shown to the guest from
// kPoolGuestAddress on. Pages are zero when handed out.
//
// Thread safety: any thread. Lock: mu_ (leaf but for `grow`, which makes a memory slot).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/result.h"
#include "base/safe_math.h"

namespace rampart::platform::kvm {

// A page by its guest-physical address; 0 is none.
using GuestPage = uint64_t;

inline constexpr uint64_t kPoolGuestAddress = uint64_t{4} << 30;
inline constexpr uint64_t kPoolSize = uint64_t{8} << 30;
inline constexpr uint64_t kPoolGrowth = uint64_t{16} << 20;

class PagePool {
 public:
  // Makes [guest, guest+length) of the guest show `host`. Errors: the host's.
  using Grow = std::function<Result<void>(uint64_t guest, std::byte* host, uint64_t length)>;
  // Errors: ENOMEM.
  static Result<std::unique_ptr<PagePool>> Create(Grow grow);
  ~PagePool();

  // Errors: ENOMEM, or grow's.
  Result<GuestPage> Allocate();
  void Free(GuestPage page);

  // REQUIRES: an allocated page.
  std::byte* At(GuestPage page) const { return base_ + (page - kPoolGuestAddress); }
  uint64_t* Table(GuestPage page) const {
    // SAFETY: pages are page aligned and hold nothing but table entries.
    return reinterpret_cast<uint64_t*>(At(page));
  }
  // A number kept beside each page, for its owner: entries in use. Zero for a new page.
  uint16_t& live(GuestPage page) const { return live_[(page - kPoolGuestAddress) / kPageSize]; }

  size_t in_use() const;

 private:
  PagePool(Grow grow, std::byte* base, uint16_t* live) : grow_(std::move(grow)), base_(base), live_(live) {}

  const Grow grow_;
  std::byte* const base_;
  uint16_t* const live_;
  mutable absl::Mutex mu_;
  std::vector<GuestPage> free_ ABSL_GUARDED_BY(mu_);
  uint64_t frontier_ ABSL_GUARDED_BY(mu_) = 0;  // never handed out at and above, in bytes
  uint64_t shown_ ABSL_GUARDED_BY(mu_) = 0;     // bytes that the guest can see
};

}  // namespace rampart::platform::kvm
