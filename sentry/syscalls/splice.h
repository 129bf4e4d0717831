// splice(2), tee(2), vmsplice(2).
//
// Bytes are copied, not moved by page: what differs from Linux is that memory given with vmsplice may be changed afterwards without the pipe's
// contents changing. Nothing is lost: what was taken from a pipe and could not be written goes back to its front.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

Result<Word> SysSplice(kernel::Task& task, Fd in, UserInOut<int64_t> in_offset, Fd out, UserInOut<int64_t> out_offset, uint64_t length,
                       uint32_t flags);
Result<Word> SysTee(kernel::Task& task, Fd in, Fd out, uint64_t length, uint32_t flags);
Result<Word> SysVmsplice(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, uint32_t flags);
// A pipe or FIFO of the kernel inside. The host's, which programs may have as standard streams, are none.
bool IsPipe(const vfs::FileDescription& file);
// Whether splice(2) and sendfile(2) can move bytes from or to files of its kind. EINVAL.
Result<void> CheckSplices(const vfs::FileDescription& file);
// sendfile(2) into a pipe (IsPipe), once: from `offset` on, which moves, if `in` has one. EAGAIN: it is full, or the source has nothing; EPIPE, with SIGPIPE;
// EINVAL.
Result<uint64_t> SendToPipe(kernel::Task& task, vfs::FileDescription& in, uint64_t& offset, vfs::FileDescription& out, uint64_t length);

}  // namespace rampart::syscalls
