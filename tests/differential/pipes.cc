// Pipes, what moves bytes between descriptors, and memory files.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/differential/operations.h"

namespace differential {
namespace {

void Pipe(World& w, Rng& r) {
  w.MakeRoom(r);
  int fds[2] = {-1, -1};
  const int flags = O_NONBLOCK | (r.OneIn(3) ? O_CLOEXEC : 0) | (r.OneIn(4) ? O_DIRECT : 0) | (r.OneIn(30) ? O_APPEND : 0);
  const int result = pipe2(fds, flags);
  w.Say(result, "pipe2(%#x)", static_cast<unsigned>(flags));
  w.Note("%d %d", fds[0], fds[1]);
  w.Keep(fds[0]);
  w.Keep(fds[1]);
}

void Splice(World& w, Rng& r) {
  const bool into = r.OneIn(2);
  const int chosen = w.Fd(r, into ? kFile | kSocket : kPipe), out = w.Fd(r, into ? kPipe : kFile | kPipe | kSocket);
  const int in = (w.KindOf(chosen) & kFile) != 0 ? World::kLentFd : chosen;
  off64_t in_offset = r.Pick<long>({0, 1, 4096, 5000, -1}), out_offset = r.Pick<long>({0, 1, 4096, 5000, -1});
  off64_t* const in_at = (w.KindOf(chosen) & kFile) != 0 && r.OneIn(2) ? &in_offset : r.OneIn(20) ? &in_offset : nullptr;
  off64_t* const out_at = (w.KindOf(out) & kFile) != 0 && r.OneIn(2) ? &out_offset : r.OneIn(20) ? &out_offset : nullptr;
  const size_t length = w.Length(r);
  const unsigned flags = SPLICE_F_NONBLOCK | r.Pick({0U, static_cast<unsigned>(SPLICE_F_MOVE), static_cast<unsigned>(SPLICE_F_MORE), r.OneIn(10) ? 64U : 0U});
  const off64_t in_before = in_offset, out_before = out_offset;
  const ssize_t n = splice(in, in_at, out, out_at, length, flags);
  w.Say(n, "splice(%d, %s%ld, %d, %s%ld, %zu, %#x)", in, in_at == nullptr ? "not " : "", in_before, out, out_at == nullptr ? "not " : "", out_before, length, flags);
  w.Note("-> %ld %ld", in_offset, out_offset);
}

void Tee(World& w, Rng& r) {
  const int in = w.Fd(r, kPipe), out = w.Fd(r, kPipe);
  const size_t length = w.Length(r);
  w.Say(tee(in, out, length, SPLICE_F_NONBLOCK), "tee(%d, %d, %zu)", in, out, length);
}

void Vmsplice(World& w, Rng& r) {
  const int fd = w.Fd(r, kPipe);
  const bool reads = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
  const size_t length = w.Length(r);
  const Buffer buffer = reads ? w.Target(r, length) : w.Source(r, length);
  // A pipe shares the pages that are spliced in: the program would see its later writes in them, so it hands over bytes that nothing changes.
  static const uint8_t kUnchanging[1 << 16] = {1};
  const iovec piece{reads ? buffer.at : const_cast<uint8_t*>(kUnchanging), buffer.length};
  const ssize_t n = vmsplice(fd, &piece, 1, SPLICE_F_NONBLOCK);
  w.Say(n, "vmsplice(%d, %s, %zu)", fd, reads ? buffer.name.c_str() : "constant", buffer.length);
  if (reads) w.NoteBytes(buffer.at, n);
}

void PipeSize(World& w, Rng& r) {
  const int fd = w.Fd(r, kPipe);
  const int size = r.Pick({0, 1, 4096, 8192, 10000, 65536, 131072, -1});
  w.Say(fcntl(fd, F_SETPIPE_SZ, size), "fcntl(%d, F_SETPIPE_SZ, %d)", fd, size);
}

void PipeWrite(World& w, Rng& r) {
  const int fd = w.Fd(r, kPipe);
  if ((w.KindOf(fd) & kPipe) == 0) return Pipe(w, r);
  const Buffer buffer = w.Source(r, w.Length(r), true);
  w.Say(write(fd, buffer.at, buffer.length), "write(pipe %d, %s, %zu)", fd, buffer.name.c_str(), buffer.length);
}

void PipeRead(World& w, Rng& r) {
  const int fd = w.Fd(r, kPipe);
  const Buffer buffer = w.Target(r, w.Length(r));
  const ssize_t n = (w.KindOf(fd) & kPipe) == 0 ? 0 : read(fd, buffer.at, buffer.length);
  w.Say(n, "read(pipe %d, %s, %zu)", fd, buffer.name.c_str(), buffer.length);
  w.NoteBytes(buffer.at, n);
}

void MemoryFile(World& w, Rng& r) {
  w.MakeRoom(r);
  const unsigned flags = r.Pick<unsigned>({MFD_ALLOW_SEALING, MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_CLOEXEC | MFD_ALLOW_SEALING, 8, 0x10, 0x40});
  const auto fd = static_cast<int>(syscall(SYS_memfd_create, "name", flags));
  w.Say(fd, "memfd_create(%#x)", flags);
  if (fd >= 0) w.Say(ftruncate(fd, 20000), "ftruncate(%d, 20000)", fd);
  w.Keep(fd);
}

void Seal(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  if (r.OneIn(3)) return w.Say(fcntl(fd, F_GET_SEALS), "fcntl(%d, F_GET_SEALS)", fd);
  const int seals = r.Pick({F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK | F_SEAL_GROW, 0x20, 0x100, 0});
  w.Say(fcntl(fd, F_ADD_SEALS, seals), "fcntl(%d, F_ADD_SEALS, %#x)", fd, static_cast<unsigned>(seals));
}

constexpr Operation kOperations[] = {
    {"pipe", 6, Pipe},         {"splice", 14, Splice},         {"tee", 6, Tee},           {"vmsplice", 5, Vmsplice}, {"pipe_size", 3, PipeSize},
    {"pipe_write", 14, PipeWrite}, {"pipe_read", 10, PipeRead}, {"memfd", 4, MemoryFile}, {"seal", 4, Seal},
};

}  // namespace

std::span<const Operation> PipeOperations() { return kOperations; }

}  // namespace differential
