// The linked vDSO image as bytes.
#include "sentry/loader/vdso_blob.h"

// SAFETY: read-only data between two labels.
asm(R"(
  .section .rodata
  .balign 16
  .globl rampart_vdso_begin, rampart_vdso_end
  .hidden rampart_vdso_begin, rampart_vdso_end
rampart_vdso_begin:
  .incbin "vdso.so"
rampart_vdso_end:
  .byte 0
  .text
)");

extern "C" const std::byte rampart_vdso_begin[], rampart_vdso_end[];

namespace rampart::loader {
std::span<const std::byte> VdsoImage() { return {rampart_vdso_begin, rampart_vdso_end}; }
}  // namespace rampart::loader
