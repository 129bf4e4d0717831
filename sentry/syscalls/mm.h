// mmap(2), munmap(2), mprotect(2), mremap(2), brk(2), madvise(2), msync(2), mincore(2), mlock(2) and relatives, pkeys(7).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMmap(kernel::Task& task, UserAddr address, uint64_t length, int prot, int flags, Fd fd, uint64_t offset);
Result<Word> SysMunmap(kernel::Task& task, UserAddr address, uint64_t length);
Result<Word> SysMprotect(kernel::Task& task, UserAddr address, uint64_t length, uint64_t prot);
Result<Word> SysMremap(kernel::Task& task, UserAddr old_address, uint64_t old_length, uint64_t new_length, uint64_t flags, UserAddr new_address);
Result<Word> SysBrk(kernel::Task& task, UserAddr want);
Result<Word> SysMadvise(kernel::Task& task, UserAddr address, uint64_t length, int advice);
Result<Word> SysMsync(kernel::Task& task, UserAddr address, uint64_t length, int flags);
Result<Word> SysMincore(kernel::Task& task, UserAddr address, uint64_t length, UserOut<uint8_t> residency);
Result<Word> SysMseal(kernel::Task& task, UserAddr address, uint64_t length, uint64_t flags);
Result<Word> SysRemapFilePages(kernel::Task& task, UserAddr start, uint64_t length, uint64_t prot, uint64_t first_page, uint64_t flags);
Result<Word> SysMlock(kernel::Task& task, UserAddr address, uint64_t length);
Result<Word> SysMlock2(kernel::Task& task, UserAddr address, uint64_t length, int flags);
Result<Word> SysMunlock(kernel::Task& task, UserAddr address, uint64_t length);
Result<Word> SysMlockall(kernel::Task& task, int flags);
Result<Word> SysMunlockall(kernel::Task& task);
// Protection keys as on a processor that has none.
Result<Word> SysPkeyMprotect(kernel::Task& task, UserAddr address, uint64_t length, uint64_t prot, int key);
Result<Word> SysPkeyAlloc(kernel::Task& task, uint64_t flags, uint64_t rights);
Result<Word> SysPkeyFree(kernel::Task& task, int key);

}  // namespace rampart::syscalls
