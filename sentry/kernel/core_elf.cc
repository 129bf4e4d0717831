#include "sentry/kernel/core_elf.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include "abi/ptrace.h"
#include "base/time.h"

namespace rampart::kernel {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxFileNote = size_t{4} << 20;  // Linux: MAX_FILE_NOTE_SIZE

using Bytes = std::vector<std::byte>;

template <class T>
void Put(Bytes& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void PutBytes(Bytes& out, std::span<const std::byte> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
void PutText(Bytes& out, std::string_view text) { PutBytes(out, std::as_bytes(std::span(text.data(), text.size()))); }
void Pad(Bytes& out, size_t to) { out.resize((out.size() + to - 1) / to * to); }

void PutNote(Bytes& out, std::string_view owner, uint32_t type, std::span<const std::byte> content) {
  Put(out, static_cast<uint32_t>(owner.size() + 1));
  Put(out, static_cast<uint32_t>(content.size()));
  Put(out, type);
  PutText(out, owner);
  out.push_back(std::byte{0});
  Pad(out, 4);
  PutBytes(out, content);
  Pad(out, 4);
}

struct Interval {
  int64_t seconds, micros;
};
Interval ToInterval(int64_t nanos) { return {nanos / kNanosPerSecond, nanos % kNanosPerSecond / 1000}; }

// struct elf_prstatus.
struct PrStatus {
  int32_t signo, code, err;
  int16_t current_signal, pad1;
  uint64_t pending, held;
  int32_t pid, parent, group, session;
  Interval user_time, system_time, children_user_time, children_system_time;
  abi::UserRegs regs;
  int32_t fp_valid, pad2;
};
static_assert(sizeof(PrStatus) == 336);

// struct elf_prpsinfo.
struct PrPsInfo {
  char state, state_name, zombie, nice;
  int32_t pad;
  uint64_t flags;
  uint32_t uid, gid;
  int32_t pid, parent, group, session;
  char name[16], arguments[80];
};
static_assert(sizeof(PrPsInfo) == 136);

void PutThread(Bytes& out, const CoreProcess& process, const CoreThread& thread, const abi::SigInfo& info) {
  PrStatus status{};
  status.signo = status.current_signal = static_cast<int16_t>(info.signo);
  status.code = info.code;
  status.err = info.err;
  status.pending = thread.pending;
  status.held = thread.blocked;
  status.pid = thread.tid;
  status.parent = process.parent, status.group = process.group, status.session = process.session;
  status.user_time = ToInterval(thread.user_time), status.system_time = ToInterval(thread.system_time);
  status.regs = thread.regs;
  status.fp_valid = thread.xstate.empty() ? 0 : 1;
  PutNote(out, "CORE", abi::kNtPrStatus, std::as_bytes(std::span(&status, 1)));
}

void PutExtended(Bytes& out, const CoreThread& thread) {
  if (thread.xstate.size() < abi::kFpRegsSize) return;
  PutNote(out, "CORE", abi::kNtPrFpReg, std::span(thread.xstate).first(abi::kFpRegsSize));
  PutNote(out, "LINUX", abi::kNtX86Xstate, thread.xstate);
}

void PutProcess(Bytes& out, const CoreProcess& process) {
  PrPsInfo ps{};
  ps.state_name = 'R';
  ps.nice = static_cast<char>(process.nice);
  ps.uid = process.uid, ps.gid = process.gid;
  ps.pid = process.pid, ps.parent = process.parent, ps.group = process.group, ps.session = process.session;
  std::memcpy(ps.name, process.name.data(), std::min(process.name.size(), sizeof(ps.name) - 1));
  std::memcpy(ps.arguments, process.arguments.data(), std::min(process.arguments.size(), sizeof(ps.arguments) - 1));
  PutNote(out, "CORE", abi::kNtPrPsInfo, std::as_bytes(std::span(&ps, 1)));
}

// NT_FILE: which file is mapped where.
void PutFiles(Bytes& out, const std::vector<CoreSegment>& segments) {
  Bytes table, names;
  uint64_t count = 0;
  for (const CoreSegment& segment : segments) {
    const mm::VmaInfo& vma = segment.vma;
    if (vma.name.empty() || vma.name[0] != '/') continue;
    if (table.size() + names.size() + vma.name.size() > kMaxFileNote) break;
    Put(table, vma.range.start);
    Put(table, vma.range.end);
    Put(table, vma.offset / kPage);
    PutText(names, vma.name);
    names.push_back(std::byte{0});
    ++count;
  }
  Bytes note;
  Put(note, count);
  Put(note, kPage);
  PutBytes(note, table);
  PutBytes(note, names);
  PutNote(out, "CORE", abi::kNtFile, note);
}

struct ElfHeader {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, program_headers, section_headers;
  uint32_t flags;
  uint16_t header_size, program_header_size, program_header_count, section_header_size, section_header_count, names;
};
static_assert(sizeof(ElfHeader) == 64);

struct ProgramHeader {
  uint32_t type, flags;
  uint64_t offset, address, physical, file_size, memory_size, align;
};
static_assert(sizeof(ProgramHeader) == 56);

}  // namespace

std::vector<std::byte> CoreNotes(const CoreProcess& process, const std::vector<CoreThread>& threads, const std::vector<CoreSegment>& segments,
                                 const abi::SigInfo& info) {
  Bytes out;
  for (size_t i = 0; i < threads.size(); ++i) {
    PutThread(out, process, threads[i], info);
    if (i == 0) {
      PutProcess(out, process);
      PutNote(out, "CORE", abi::kNtSigInfo, std::as_bytes(std::span(&info, 1)));
      PutNote(out, "CORE", abi::kNtAuxv, std::as_bytes(std::span(process.auxv)));
      PutFiles(out, segments);
    }
    PutExtended(out, threads[i]);
  }
  return out;
}

std::vector<std::byte> CoreHeaders(const std::vector<CoreSegment>& segments, size_t notes_size, uint64_t& data) {
  constexpr uint16_t kCore = 4, kX86_64 = 62;
  constexpr uint32_t kNote = 4, kLoad = 1, kFlagExec = 1, kFlagWrite = 2, kFlagRead = 4;
  Bytes out;
  const uint64_t headers_size = sizeof(ElfHeader) + (segments.size() + 1) * sizeof(ProgramHeader);
  data = (headers_size + notes_size + kPage - 1) / kPage * kPage;
  ElfHeader header{};
  const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
  std::memcpy(header.ident, ident, sizeof(ident));
  header.type = kCore, header.machine = kX86_64, header.version = 1;
  header.program_headers = sizeof(ElfHeader);
  header.header_size = sizeof(ElfHeader), header.program_header_size = sizeof(ProgramHeader);
  header.program_header_count = static_cast<uint16_t>(segments.size() + 1);
  Put(out, header);
  Put(out, ProgramHeader{.type = kNote, .flags = 0, .offset = headers_size, .address = 0, .physical = 0, .file_size = notes_size, .memory_size = 0, .align = 4});
  uint64_t offset = data;
  for (const CoreSegment& segment : segments) {
    const platform::Prot prot = segment.vma.prot;
    const uint32_t flags = (platform::Any(prot & platform::Prot::kRead) ? kFlagRead : 0) | (platform::Any(prot & platform::Prot::kWrite) ? kFlagWrite : 0) |
                           (platform::Any(prot & platform::Prot::kExec) ? kFlagExec : 0);
    Put(out, ProgramHeader{.type = kLoad, .flags = flags, .offset = offset, .address = segment.vma.range.start, .physical = 0, .file_size = segment.dumped,
                           .memory_size = segment.vma.range.length(), .align = kPage});
    offset += segment.dumped;
  }
  return out;
}

}  // namespace rampart::kernel
