// set_mempolicy(2), get_mempolicy(2), mbind(2), set_mempolicy_home_node(2), migrate_pages(2), move_pages(2): as a kernel with NUMA answers on a
// machine with one node.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysSetMempolicy(kernel::Task& task, uint32_t mode, UserIn<uint64_t> nodes, uint64_t max_node);
Result<Word> SysGetMempolicy(kernel::Task& task, UserOut<int32_t> policy, UserOut<uint64_t> nodes, uint64_t max_node, UserAddr address,
                             uint64_t flags);
Result<Word> SysMbind(kernel::Task& task, UserAddr start, uint64_t length, uint64_t mode, UserIn<uint64_t> nodes, uint64_t max_node, uint32_t flags);
Result<Word> SysSetMempolicyHomeNode(kernel::Task& task, UserAddr start, uint64_t length, uint64_t node, uint64_t flags);
Result<Word> SysMigratePages(kernel::Task& task, abi::Pid pid, uint64_t max_node, UserIn<uint64_t> from, UserIn<uint64_t> to);
Result<Word> SysMovePages(kernel::Task& task, abi::Pid pid, uint64_t count, UserIn<uint64_t> pages, UserIn<int32_t> nodes, UserOut<int32_t> status,
                          uint32_t flags);

}  // namespace rampart::syscalls
