// Reading directories.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "gofer/server/handlers.h"
#include "gofer/server/host_calls.h"

namespace rampart::gofer {
namespace {

constexpr size_t kScratch = 64 * 1024;
constexpr size_t kLeastRead = 1024;  // room for one entry of any name

// What the kernel puts in front of each name (struct linux_dirent64).
struct DirentHeader {
  uint64_t ino;
  int64_t next;  // the position after this entry
  uint16_t size;
  uint8_t type;
};
constexpr size_t kNameOffset = 19;

struct HostEntry {
  DirentHeader header;
  std::string_view name;
  bool is_dot() const { return name == "." || name == ".."; }
};

// Takes the first entry off `bytes`, which getdents64 filled. Nothing when they are used up.
bool NextEntry(Bytes& bytes, HostEntry& entry) {
  if (bytes.size() < kNameOffset + 1) return false;
  std::memcpy(&entry.header.ino, bytes.data(), 8);
  std::memcpy(&entry.header.next, bytes.data() + 8, 8);
  std::memcpy(&entry.header.size, bytes.data() + 16, 2);
  std::memcpy(&entry.header.type, bytes.data() + 18, 1);
  CHECK(entry.header.size > kNameOffset && entry.header.size <= bytes.size());  // the kernel's word
  // SAFETY: the name is NUL-terminated inside the record.
  const char* name = reinterpret_cast<const char*>(bytes.data() + kNameOffset);
  entry.name = std::string_view(name, ::strnlen(name, entry.header.size - kNameOffset));
  bytes = bytes.subspan(entry.header.size);
  return true;
}

Result<Bytes> ReadEntries(int fd, MutableBytes into) {
  const ssize_t n = ::getdents64(fd, into.data(), into.size());
  if (n < 0) return ErrnoFromHost(errno);
  return Bytes(into).first(static_cast<size_t>(n));
}

}  // namespace

Result<Rreaddir> On(Session& session, const Treaddir& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  if (!fid->node->is_dir()) return Errno::kENOTDIR;
  if (request.offset > INT64_MAX) return Errno::kEINVAL;
  const MutableBytes place = call.PayloadPlace(request.count);
  call.scratch.resize(kScratch);
  absl::MutexLock lock(&fid->mutex);
  if (!fid->file) return Errno::kEBADF;
  const int fd = fid->file->fd();
  if (fid->dir_position != request.offset) {
    if (::lseek(fd, static_cast<off_t>(request.offset), SEEK_SET) < 0) return ErrnoFromHost(errno);
    fid->dir_position = request.offset;
  }
  // A host record is no shorter than its 9P form by more than five bytes, so half as much will nearly always fit.
  Bytes bytes = TRY(ReadEntries(fd, MutableBytes(call.scratch).first(std::clamp<size_t>(place.size() / 2, kLeastRead, kScratch))));
  size_t used = 0;
  HostEntry host;
  while (NextEntry(bytes, host)) {
    WireDirent entry;
    entry.qid.type = host.header.type == DT_DIR ? kQidDir : host.header.type == DT_LNK ? kQidSymlink : uint8_t{0};
    entry.qid.path = host.header.ino;
    entry.offset = static_cast<uint64_t>(host.header.next);
    entry.type = host.header.type;
    entry.name = host.name;
    Writer writer(place.subspan(used));
    entry.Visit(writer);
    if (!writer.ok()) {
      if (used == 0) return Errno::kEINVAL;  // as getdents64 says of a buffer too small for one entry
      fid->dir_position = UINT64_MAX;        // the host's is beyond: seek next time
      break;
    }
    used += writer.position();
    fid->dir_position = entry.offset;
  }
  return Rreaddir{Payload{place.first(used)}};
}

namespace {

// Fills `reply` from the directory `fd` until the message is full or the directory ends.
Result<void> FillEntries(int fd, int stat_dir, bool want_attr, Call& call, Rereaddir& reply) {
  constexpr size_t kEntryOverhead = 8 + 1 + 2 + 1 + 128;  // EntryAttr without its name
  size_t room = call.out.size() - kHeaderSize - 3;
  MutableBytes scratch(call.scratch);
  while (scratch.size() >= kLeastRead) {
    Bytes bytes = TRY(ReadEntries(fd, scratch.first(std::min(scratch.size(), std::max(kLeastRead, room / 4)))));
    if (bytes.empty()) {
      reply.end = 1;
      return Ok();
    }
    scratch = scratch.subspan(bytes.size());
    HostEntry host;
    int64_t position = -1;  // unknown: the beginning of this batch
    while (NextEntry(bytes, host)) {
      if (!host.is_dot() && kEntryOverhead + host.name.size() > room) {
        if (position < 0 && reply.entries.empty()) return Errno::kEMSGSIZE;
        if (position >= 0 && ::lseek(fd, position, SEEK_SET) < 0) return ErrnoFromHost(errno);
        return Ok();
      }
      position = host.header.next;
      if (host.is_dot()) continue;
      EntryAttr entry;
      entry.ino = host.header.ino;
      entry.type = host.header.type;
      entry.name = host.name;
      if (want_attr) {
        auto attr = StatAt(stat_dir, CName(host.name).c_str());
        entry.has_attr = attr.ok() ? 1 : 0;
        if (attr.ok()) entry.attr = *attr;
      }
      room -= kEntryOverhead + host.name.size();
      reply.entries.push_back(entry);
    }
    if (room < kEntryOverhead + kMaxName) return Ok();  // the next batch's first entry is sure to fit
  }
  return Ok();
}

}  // namespace

Result<Rereaddir> On(Session& session, const Tereaddir& request, Call& call) {
  const Ref<Fid> fid = TRY(session.fids.Find(request.fid));
  if (!fid->node->is_dir()) return Errno::kENOTDIR;
  call.scratch.resize(kScratch);
  Rereaddir reply;
  absl::MutexLock lock(&fid->mutex);
  if (!fid->file) {
    if (request.restart == 0) return Errno::kEBADF;
    UniqueFd fd = TRY(fid->node->Open(O_RDONLY));
    fid->file = MakeRef<OpenFile>(std::move(fd), uint32_t{O_RDONLY}, TRY(FilePermit::Take(session.host)));
  } else if (request.restart != 0 && ::lseek(fid->file->fd(), 0, SEEK_SET) < 0) {
    return ErrnoFromHost(errno);
  }
  auto filled = FillEntries(fid->file->fd(), fid->node->fd(), request.want_attr != 0, call, reply);
  if (!filled.ok() || reply.end != 0) fid->file = nullptr;
  if (!filled.ok()) return filled.error();
  return reply;
}

}  // namespace rampart::gofer
