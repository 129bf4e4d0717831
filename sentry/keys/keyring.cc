// Keyrings: searching them (Linux: keyring_search_rcu, search_process_keyrings_rcu), links, add_key(2).
#include <algorithm>
#include <utility>

#include "sentry/keys/registry.h"

namespace rampart::keys {
namespace {

constexpr int kMaxDepth = 6;            // keyrings in keyrings
constexpr uint64_t kLinkBytes = 4;      // what a link costs its keyring's owner
constexpr size_t kMaxPayload = 32767;

}  // namespace

bool Registry::Possesses(const Subject& subject, const Key& key) const {
  Hit hit;
  absl::MutexLock lock(&mu_);
  SearchOwnLocked(subject, Wanted{&key, key.type_, nullptr}, hit);
  return hit.key != nullptr;
}

// Linux: keyring_search_iterator. Who looks for one key by itself takes it in whatever state it is.
void Registry::MatchLocked(const Subject& subject, Key& key, bool possessed, const Wanted& wanted, Hit& hit) const {
  if (wanted.identity != nullptr ? &key != wanted.identity : key.type_ != wanted.type || key.description_ != *wanted.description) return;
  if (wanted.identity == nullptr) {
    if (key.invalidated_) return;
    if (const Result<void> valid = ValidateLocked(key); !valid.ok()) {
      hit.error = valid.error();
      return;
    }
  }
  if (!AllowsLocked(subject, key, possessed, kSearch)) {
    hit.error = Errno::kEACCES;
  } else if (wanted.identity == nullptr && key.rejected_ != Errno{}) {
    hit.error = key.rejected_;
  } else {
    hit.key = &key;
  }
}

// Linux: search_nested_keyrings. What is found is in `hit`; else its error is the most telling one met.
void Registry::SearchLocked(const Subject& subject, Key& keyring, bool possessed, const Wanted& wanted, int depth, Hit& hit) const {
  if (!keyring.is_keyring() || (wanted.identity == nullptr && !ValidateLocked(keyring).ok())) return;
  for (const Ref<Key>& link : keyring.links_) {
    MatchLocked(subject, *link, possessed, wanted, hit);
    if (hit.key != nullptr) return;
  }
  if (depth >= kMaxDepth) return;
  for (const Ref<Key>& link : keyring.links_) {
    if (!link->is_keyring() || !AllowsLocked(subject, *link, possessed, kSearch)) continue;
    SearchLocked(subject, *link, possessed, wanted, depth + 1, hit);
    if (hit.key != nullptr) return;
  }
}

// Linux: search_cred_keyrings_rcu: that there is nothing counts more than that there is something one may not have.
void Registry::SearchOwnLocked(const Subject& subject, const Wanted& wanted, Hit& hit) const {
  RefPtr<Key> session = subject.session;
  if (!session) {
    if (const auto user = users_.find(subject.creds.ruid); user != users_.end()) session = user->second.session;
  }
  bool nothing = false;
  for (Key* keyring : {subject.thread.get(), subject.process.get(), session.get()}) {
    if (keyring == nullptr) continue;
    Hit one{.error = Errno::kEAGAIN};
    if (!AllowsLocked(subject, *keyring, true, kSearch)) {
      one.error = Errno::kEACCES;
    } else {
      MatchLocked(subject, *keyring, true, wanted, one);
      if (one.key == nullptr) SearchLocked(subject, *keyring, true, wanted, 0, one);
    }
    if (one.key != nullptr) {
      hit.key = one.key;
      return;
    }
    nothing |= one.error == Errno::kEAGAIN || one.error == Errno::kENOKEY;
    hit.error = one.error;
  }
  if (nothing || hit.error == Errno::kEAGAIN) hit.error = Errno::kENOKEY;
}

Result<KeyRef> Registry::SearchOwn(const Subject& subject, KeyType type, const std::string& description) const {
  Hit hit;
  absl::MutexLock lock(&mu_);
  SearchOwnLocked(subject, Wanted{nullptr, type, &description}, hit);
  if (hit.key == nullptr) return hit.error;
  return KeyRef{ShareRef(hit.key), true};
}

Result<KeyRef> Registry::SearchIn(const Subject& subject, const KeyRef& keyring, KeyType type, const std::string& description) const {
  if (!keyring.key->is_keyring()) return Errno::kENOTDIR;
  Hit hit;
  absl::MutexLock lock(&mu_);
  if (!AllowsLocked(subject, *keyring.key, keyring.possessed, kSearch)) return Errno::kEACCES;
  const Wanted wanted{nullptr, type, &description};
  MatchLocked(subject, *keyring.key, keyring.possessed, wanted, hit);
  if (hit.key == nullptr) SearchLocked(subject, *keyring.key, keyring.possessed, wanted, 0, hit);
  if (hit.key == nullptr) return hit.error;
  return KeyRef{ShareRef(hit.key), keyring.possessed};
}

bool Registry::ReachesLocked(const Key& from, const Key& to) const {
  if (&from == &to) return true;
  return std::any_of(from.links_.begin(), from.links_.end(), [&](const Ref<Key>& link) {
    mu_.AssertReaderHeld();
    return link->is_keyring() && ReachesLocked(*link, to);
  });
}

int Registry::DepthLocked(const Key& keyring) const {
  int depth = 0;
  for (const Ref<Key>& link : keyring.links_) {
    if (link->is_keyring()) depth = std::max(depth, 1 + DepthLocked(*link));
  }
  return depth;
}

// Linux: __key_link_check_live_key → keyring_detect_cycle.
Result<void> Registry::CheckNestingLocked(const Key& inner, const Key& outer) const {
  if (!inner.is_keyring()) return Ok();
  if (ReachesLocked(inner, outer)) return Errno::kEDEADLK;
  if (DepthLocked(inner) >= kMaxDepth) return Errno::kELOOP;
  return Ok();
}

// A link with the same type and name is displaced.
Result<void> Registry::LinkLocked(const Ref<Key>& key, Key& keyring, Grave& grave) {
  if (!keyring.is_keyring()) return Errno::kENOTDIR;
  if (keyring.revoked_) return Errno::kEKEYREVOKED;
  if (keyring.restricted_) return Errno::kEPERM;
  TRY(CheckNestingLocked(*key, keyring));
  for (Ref<Key>& link : keyring.links_) {
    if (link->type_ != key->type_ || link->description_ != key->description_) continue;
    grave.push_back(link);
    link = key;
    return Ok();
  }
  TRY(ResizeLocked(keyring, (keyring.links_.size() + 1) * kLinkBytes));
  keyring.links_.push_back(key);
  return Ok();
}

bool Registry::UnlinkLocked(Key& key, Key& keyring, Grave& grave) {
  const auto found = std::find_if(keyring.links_.begin(), keyring.links_.end(), [&](const Ref<Key>& link) { return link.get() == &key; });
  if (found == keyring.links_.end()) return false;
  grave.push_back(*found);
  keyring.links_.erase(found);
  (void)ResizeLocked(keyring, keyring.links_.size() * kLinkBytes);
  return true;
}

Result<void> Registry::Link(const Ref<Key>& key, Key& keyring) {
  Grave grave;
  absl::MutexLock lock(&mu_);
  return LinkLocked(key, keyring, grave);
}

Result<void> Registry::Unlink(Key& key, Key& keyring) {
  Grave grave;
  absl::MutexLock lock(&mu_);
  if (!keyring.is_keyring()) return Errno::kENOTDIR;
  if (!UnlinkLocked(key, keyring, grave)) return Errno::kENOENT;
  return Ok();
}

Result<void> Registry::Move(const Ref<Key>& key, Key& from, Key& to, Displace displace) {
  Grave grave;
  absl::MutexLock lock(&mu_);
  if (!from.is_keyring() || !to.is_keyring()) return Errno::kENOTDIR;
  if (&from == &to) return Ok();
  const auto holds = [&](const Ref<Key>& link) { return link.get() == key.get(); };
  if (std::none_of(from.links_.begin(), from.links_.end(), holds)) return Errno::kENOENT;
  const bool taken = std::any_of(to.links_.begin(), to.links_.end(), [&](const Ref<Key>& link) {
    return link->type_ == key->type_ && link->description_ == key->description_;
  });
  if (displace == Displace::kNo && taken) return Errno::kEEXIST;
  TRY(LinkLocked(key, to, grave));
  (void)UnlinkLocked(*key, from, grave);
  return Ok();
}

Result<void> Registry::Clear(Key& keyring) {
  std::vector<Ref<Key>> links;  // outlives the lock
  absl::MutexLock lock(&mu_);
  if (!keyring.is_keyring()) return Errno::kENOTDIR;
  links.swap(keyring.links_);
  (void)ResizeLocked(keyring, 0);
  return Ok();
}

// Linux's collector takes it out of every keyring a moment later.
void Registry::Invalidate(Key& key) {
  Grave grave;
  absl::MutexLock lock(&mu_);
  key.invalidated_ = true;
  for (const auto& [serial, other] : keys_) {
    if (other->is_keyring()) (void)UnlinkLocked(key, *other, grave);
  }
}

// Linux: key_create_or_update, with the checks of each type.
Result<Ref<Key>> Registry::AddOrUpdate(const Subject& subject, const KeyRef& keyring, KeyType type, const std::string& description,
                                       std::string payload) {
  if (!keyring.key->is_keyring()) return Errno::kENOTDIR;
  const bool holds_payload = type != KeyType::kKeyring;
  if (holds_payload ? payload.empty() || payload.size() > kMaxPayload : !payload.empty()) return Errno::kEINVAL;
  if (description.empty()) return Errno::kEINVAL;
  if (type == KeyType::kLogon) {
    const size_t colon = description.find(':');
    if (colon == std::string::npos || colon == 0) return Errno::kEINVAL;
  }
  Grave grave;
  absl::MutexLock lock(&mu_);
  Key& ring = *keyring.key;
  TRY(ValidateLocked(ring));
  if (ring.restricted_) return Errno::kEPERM;
  if (!AllowsLocked(subject, ring, keyring.possessed, kWrite)) return Errno::kEACCES;
  if (holds_payload) {
    for (const Ref<Key>& link : ring.links_) {
      if (link->type_ != type || link->description_ != description || link->revoked_ || link->invalidated_) continue;
      if (!AllowsLocked(subject, *link, keyring.possessed, kWrite)) return Errno::kEACCES;
      TRY(ResizeLocked(*link, payload.size()));
      link->payload_ = std::move(payload);
      link->rejected_ = Errno{};
      link->expiry_ = 0;
      return link;
    }
  }
  uint32_t permissions = Possessor(kView | kSearch | kLink | kSetAttr | kWrite) | Owner(kView);
  if (type != KeyType::kLogon) permissions |= Possessor(kRead);
  Ref<Key> key = TRY(NewLocked(subject.creds.fsuid, subject.creds.fsgid, type, description, permissions, Quota::kCounted, payload.size()));
  grave.push_back(key);
  key->payload_ = std::move(payload);
  TRY(LinkLocked(key, ring, grave));
  return key;
}

Result<void> Registry::AddNegative(const Subject& subject, RefPtr<Key> keyring, KeyType type, const std::string& description, Errno error,
                                   uint32_t seconds) {
  if (!keyring) return Ok();
  Grave grave;
  absl::MutexLock lock(&mu_);
  constexpr uint32_t kPermissions = Possessor(kView | kSearch | kLink | kSetAttr | kRead | kWrite) | Owner(kView);
  Ref<Key> key = TRY(NewLocked(subject.creds.fsuid, subject.creds.fsgid, type, description, kPermissions, Quota::kCounted, 0));
  grave.push_back(key);
  key->rejected_ = error;
  key->expiry_ = RealtimeNow() + Nanos{seconds} * kNanosPerSecond;
  return LinkLocked(key, *keyring, grave);
}

}  // namespace rampart::keys
