// Counts what the heap of this process holds, so that the sandbox's memory limit can reach the kernel's own objects too.
//
// Model. operator new and delete are replaced in every program that uses this header; each thread counts by itself and adds to the sum
// every few KiB. malloc(3) itself is not counted. In a sanitizer's build, which has an allocator of its own, all figures are 0 but for CountBeside's.
// Thread safety: any thread. Exact to 16 KiB a thread.
#pragma once

#include <cstdint>

namespace rampart {

// Bytes in use.
uint64_t HeapBytes();

// What this thread has taken minus what it gave back since StartThreadHeap(): negative when it frees what others made.
int64_t ThreadHeapBytes();
// Memory that the host spends on this process's account, as on a thread or on page tables: counted (or, negative, given back) as if it were of the heap.
void CountBeside(int64_t bytes);
// A pooled thread begins with other work: adds its count to the sum and begins at 0.
void StartThreadHeap();

}  // namespace rampart
