// The memory devices (major 1): /dev/null, zero, full, random, urandom (null(4), random(4)).
// Thread safety: any thread.
#pragma once

#include <cstddef>
#include <span>

#include "sentry/vfs/file_description.h"

namespace rampart::fs {

enum class MemoryDevice : uint32_t { kNull = 3, kZero = 5, kFull = 7, kRandom = 8, kUrandom = 9 };  // minor numbers

Ref<vfs::FileDescription> OpenMemoryDevice(const vfs::Path& path, uint32_t flags, MemoryDevice device);

// Registers them with the VFS; once, at boot.
void RegisterMemoryDevices();

// Random bytes of the host, through a small buffer so that short requests cost no host call. Bytes are wiped from it as they are given out.
// Host call: getrandom.
void RandomBytes(std::span<std::byte> bytes);

}  // namespace rampart::fs
