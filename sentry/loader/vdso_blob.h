// The vDSO's ELF image, embedded when this program was built. Thread safety: constant.
#pragma once

#include <cstddef>
#include <span>

namespace rampart::loader {
std::span<const std::byte> VdsoImage();
}  // namespace rampart::loader
