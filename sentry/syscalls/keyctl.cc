// keyctl(2)'s operations. Linux: security/keys/keyctl.c.
#include <algorithm>
#include <utility>

#include "sentry/syscalls/keys.h"
#include "sentry/syscalls/keys_internal.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using keys::Key;
using keys::KeyRef;
using keys::KeyType;

struct Args {
  uint64_t a, b, c, d;
  int32_t Id(uint64_t word) const { return static_cast<int32_t>(word); }
};
using Operation = Result<Word> (*)(Task& task, const Args& args);

keys::Registry& RegistryOf(Task& task) { return task.kernel().keys(); }

// The length, with the bytes where there is room for all of them.
Result<Word> Answer(Task& task, std::string_view bytes, UserAddr buffer, uint64_t room) {
  if (buffer != 0 && room >= bytes.size()) TRY(task.mm().CopyOutBytes(buffer, std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return Word{bytes.size()};
}

Result<Word> GetKeyringId(Task& task, const Args& args) {
  const Create create = static_cast<int32_t>(args.b) != 0 ? Create::kYes : Create::kNo;
  return static_cast<Word>(TRY(LookupKey(task, args.Id(args.a), create, State::kValid, keys::kSearch)).key->serial());
}

Result<Word> JoinSessionKeyring(Task& task, const Args& args) {
  std::optional<std::string> name;
  if (args.a != 0) {
    name = TRY(ReadDescription(task, UserPath(args.a)));
    if (!name->empty() && (*name)[0] == '.') return Errno::kEPERM;
  }
  return static_cast<Word>(TRY(JoinSession(task, name)));
}

Result<Word> Update(Task& task, const Args& args) {
  if (args.c > kPageSize) return Errno::kEINVAL;
  std::string payload(args.c, '\0');
  if (args.b != 0) TRY(task.mm().CopyInBytes(args.b, std::as_writable_bytes(std::span(payload))));
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kWrite));
  if (ref.key->is_keyring()) return Errno::kEOPNOTSUPP;
  if (payload.empty() || args.b == 0) return Errno::kEINVAL;
  TRY(RegistryOf(task).Update(*ref.key, std::move(payload)));
  return Word{0};
}

Result<Word> Revoke(Task& task, const Args& args) {
  Result<KeyRef> ref = LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kWrite);
  if (!ref.ok() && ref.error() == Errno::kEACCES) ref = LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kSetAttr);
  RegistryOf(task).Revoke(*TRY(std::move(ref)).key);
  return Word{0};
}

Result<Word> Chown(Task& task, const Args& args) {
  const auto uid = static_cast<abi::Uid>(args.b), gid = static_cast<abi::Gid>(args.c);
  constexpr uint32_t kNone = ~uint32_t{0};
  if (uid == kNone && gid == kNone) return Word{0};
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kPartial, keys::kSetAttr));
  TRY(RegistryOf(task).SetOwner(SubjectOf(task), *ref.key, uid == kNone ? std::nullopt : std::optional(uid),
                                gid == kNone ? std::nullopt : std::optional(gid)));
  return Word{0};
}

Result<Word> SetPermissions(Task& task, const Args& args) {
  const auto permissions = static_cast<uint32_t>(args.b);
  if ((permissions & ~0x3f3f3f3fu) != 0) return Errno::kEINVAL;
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kPartial, keys::kSetAttr));
  TRY(RegistryOf(task).SetPermissions(SubjectOf(task), *ref.key, permissions));
  return Word{0};
}

Result<Word> Describe(Task& task, const Args& args) {
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kPartial, keys::kView));
  const std::string text = RegistryOf(task).Describe(*ref.key);
  return Answer(task, std::string_view(text.c_str(), text.size() + 1), args.b, args.c);
}

Result<Word> Clear(Task& task, const Args& args) {
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kValid, keys::kWrite));
  TRY(RegistryOf(task).Clear(*ref.key));
  return Word{0};
}

Result<Word> Link(Task& task, const Args& args) {
  const KeyRef keyring = TRY(LookupKey(task, args.Id(args.b), Create::kYes, State::kValid, keys::kWrite));
  const KeyRef key = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kValid, keys::kLink));
  TRY(RegistryOf(task).Link(key.key, *keyring.key));
  return Word{0};
}

Result<Word> Unlink(Task& task, const Args& args) {
  const KeyRef keyring = TRY(LookupKey(task, args.Id(args.b), Create::kNo, State::kValid, keys::kWrite));
  const KeyRef key = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kAny, kNoRights));
  TRY(RegistryOf(task).Unlink(*key.key, *keyring.key));
  return Word{0};
}

Result<Word> Search(Task& task, const Args& args) {
  const std::string name = TRY(ReadTypeName(task, UserPath(args.b)));
  const std::string description = TRY(ReadDescription(task, UserPath(args.c)));
  const KeyRef keyring = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kSearch));
  std::optional<KeyRef> destination;
  if (args.Id(args.d) != 0) destination = TRY(LookupKey(task, args.Id(args.d), Create::kYes, State::kValid, keys::kWrite));
  KeyType type{};
  if (!keys::FindType(name, type)) return Errno::kENOKEY;
  keys::Registry& registry = RegistryOf(task);
  const KeyRef found = TRY(registry.SearchIn(SubjectOf(task), keyring, type, description));
  if (destination) {
    TRY(registry.CheckRights(SubjectOf(task), found, keys::kLink));
    TRY(registry.Link(found.key, *destination->key));
  }
  return static_cast<Word>(found.key->serial());
}

// What one possesses and may search one may read.
Result<Word> Read(Task& task, const Args& args) {
  keys::Registry& registry = RegistryOf(task);
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kAny, kNoRights));
  TRY(registry.StateOf(*ref.key));
  if (!registry.CheckRights(SubjectOf(task), ref, keys::kRead).ok() && !ref.possessed) return Errno::kEACCES;
  return Answer(task, TRY(registry.Read(*ref.key)), args.b, args.c);
}

// There is never a key under construction to take over.
Result<Word> Instantiate(Task&, const Args& args) {
  constexpr uint64_t kMaxLength = (1 << 20) - 1;
  if (args.c > kMaxLength) return Errno::kEINVAL;
  return Errno::kEPERM;
}
Result<Word> Negate(Task&, const Args&) { return Errno::kEPERM; }
Result<Word> Reject(Task&, const Args& args) {
  const auto error = static_cast<uint32_t>(args.c);
  constexpr uint32_t kMaxErrno = 4095, kFirstInternal = 512, kLastInternal = 516;
  if (error == 0 || error >= kMaxErrno || (error >= kFirstInternal && error <= kLastInternal)) return Errno::kEINVAL;
  return Errno::kEPERM;
}

Result<Word> SetRequestKeyring(Task& task, const Args& args) {
  const int32_t old = task.default_request_keyring;
  const auto wanted = static_cast<int32_t>(args.a);
  switch (wanted) {
    case kDefaultNoChange:
      return static_cast<Word>(old);
    case kDefaultThread:
      TRY(EnsureThreadKeyring(task));
      break;
    case kDefaultProcess:
      TRY(EnsureProcessKeyring(task));
      break;
    case kDefaultDefault:
    case kDefaultSession:
    case kDefaultUser:
    case kDefaultUserSession:
    case kDefaultRequestor:
      break;
    default:
      return Errno::kEINVAL;
  }
  task.default_request_keyring = wanted;
  return static_cast<Word>(old);
}

Result<Word> SetTimeout(Task& task, const Args& args) {
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kPartial, keys::kSetAttr));
  RegistryOf(task).SetTimeout(*ref.key, static_cast<uint32_t>(args.b));
  return Word{0};
}

Result<Word> AssumeAuthority(Task&, const Args& args) {
  const int32_t id = args.Id(args.a);
  if (id < 0) return Errno::kEINVAL;
  if (id != 0) return Errno::kENOKEY;
  return Word{0};
}

// No security module labels keys: an empty text.
Result<Word> GetSecurity(Task& task, const Args& args) {
  TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kPartial, keys::kView));
  if (args.b != 0 && args.c > 0) TRY(task.mm().ZeroOut(args.b, 1));
  return Word{1};
}

// Linux: keyctl_session_to_parent.
Result<Word> SessionToParent(Task& task, const Args&) {
  const KeyRef session = TRY(LookupKey(task, kSessionKeyring, Create::kNo, State::kValid, keys::kLink));
  const RefPtr<kernel::ThreadGroup> parent = task.group().parent();
  if (!parent || parent->pid() <= 1) return Errno::kEPERM;
  const std::vector<Ref<Task>> threads = parent->Tasks();
  if (threads.size() != 1) return Errno::kEPERM;
  const Ref<const auth::Credentials> theirs = threads[0]->GetCreds();
  const auth::Credentials& ours = task.creds();
  const bool same = theirs->ruid == ours.euid && theirs->euid == ours.euid && theirs->suid == ours.euid && theirs->rgid == ours.egid &&
                    theirs->egid == ours.egid && theirs->sgid == ours.egid;
  keys::Registry& registry = RegistryOf(task);
  const RefPtr<Key> old = threads[0]->session_keyring();
  if (old.get() == session.key.get()) return Word{0};
  if (!same || (old && registry.OwnerOf(*old) != ours.euid) || registry.OwnerOf(*session.key) != ours.euid) return Errno::kEPERM;
  threads[0]->SetSessionKeyring(session.key);
  return Word{0};
}

Result<Word> Invalidate(Task& task, const Args& args) {
  Result<KeyRef> ref = LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kSearch);
  RegistryOf(task).Invalidate(*TRY(std::move(ref)).key);
  return Word{0};
}

Result<Word> GetPersistent(Task& task, const Args& args) {
  const auto asked = static_cast<abi::Uid>(args.a);
  const abi::Uid uid = asked == ~abi::Uid{0} ? task.creds().ruid : asked;
  if (uid != task.creds().ruid && uid != task.creds().euid && !task.creds().HasCapability(abi::Capability::kSetuid)) return Errno::kEPERM;
  const KeyRef destination = TRY(LookupKey(task, args.Id(args.b), Create::kYes, State::kValid, keys::kWrite));
  if (!destination.key->is_keyring()) return Errno::kENOTDIR;
  keys::Registry& registry = RegistryOf(task);
  const Ref<Key> persistent = TRY(registry.PersistentOf(uid));
  TRY(registry.CheckRights(SubjectOf(task), KeyRef{persistent, true}, keys::kLink));
  TRY(registry.Link(persistent, *destination.key));
  return static_cast<Word>(persistent->serial());
}

Result<Word> RestrictKeyring(Task& task, const Args& args) {
  const KeyRef ref = TRY(LookupKey(task, args.Id(args.a), Create::kNo, State::kValid, keys::kSetAttr));
  if (args.b == 0) {
    if (args.c != 0) return Errno::kEINVAL;
    TRY(RegistryOf(task).Restrict(*ref.key));
    return Word{0};
  }
  const std::string name = TRY(ReadTypeName(task, UserPath(args.b)));
  TRY(ReadDescription(task, UserPath(args.c)));
  if (!ref.key->is_keyring()) return Errno::kENOTDIR;
  KeyType type{};
  return keys::FindType(name, type) ? Errno::kENOENT : Errno::kENOKEY;  // no type here knows restrictions
}

Result<Word> Move(Task& task, const Args& args) {
  constexpr uint64_t kExclusive = 1;
  if ((static_cast<uint32_t>(args.d) & ~kExclusive) != 0) return Errno::kEINVAL;
  const KeyRef key = TRY(LookupKey(task, args.Id(args.a), Create::kYes, State::kValid, keys::kLink));
  const KeyRef from = TRY(LookupKey(task, args.Id(args.b), Create::kNo, State::kValid, keys::kWrite));
  const KeyRef to = TRY(LookupKey(task, args.Id(args.c), Create::kYes, State::kValid, keys::kWrite));
  TRY(RegistryOf(task).Move(key.key, *from.key, *to.key, args.d != 0 ? keys::Displace::kNo : keys::Displace::kYes));
  return Word{0};
}

Result<Word> Capabilities(Task& task, const Args& args) {
  // CAPABILITIES, PERSISTENT_KEYRINGS, INVALIDATE, RESTRICT_KEYRING, MOVE; NS_KEYRING_NAME, NS_KEY_TAG.
  constexpr uint8_t kOffered[] = {0x01 | 0x02 | 0x20 | 0x40 | 0x80, 0x01 | 0x02};
  if (args.b > 0) {
    const size_t n = std::min<size_t>(args.b, sizeof(kOffered));
    TRY(task.mm().CopyOutBytes(args.a, std::as_bytes(std::span(kOffered)).first(n)));
    if (args.b > n) TRY(task.mm().ZeroOut(args.a + n, args.b - n));
  }
  return Word{sizeof(kOffered)};
}

Result<Word> NotSupported(Task&, const Args&) { return Errno::kEOPNOTSUPP; }

// KEYCTL_…, in order.
constexpr Operation kOperations[] = {
    GetKeyringId, JoinSessionKeyring, Update,       Revoke,       Chown,        SetPermissions,  Describe,     Clear,        Link,
    Unlink,       Search,             Read,         Instantiate,  Negate,       SetRequestKeyring, SetTimeout, AssumeAuthority, GetSecurity,
    SessionToParent, Reject,          Instantiate,  Invalidate,   GetPersistent, NotSupported,   NotSupported, NotSupported, NotSupported,
    NotSupported, NotSupported,       RestrictKeyring, Move,      Capabilities, NotSupported,
};
static_assert(std::size(kOperations) == 33);

}  // namespace

Result<Word> SysKeyctl(Task& task, int32_t operation, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  if (operation < 0 || static_cast<size_t>(operation) >= std::size(kOperations)) return Errno::kEOPNOTSUPP;
  return kOperations[operation](task, Args{a, b, c, d});
}

}  // namespace rampart::syscalls
