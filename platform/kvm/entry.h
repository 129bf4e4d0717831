// The symbols of entry.S. It lies in read-only data here; only its copy in guest memory is ever executed.
#pragma once

#include <cstdint>

extern "C" {
extern const char rampart_kvm_text_begin[], rampart_kvm_text_end[];
extern const char rampart_kvm_syscall[], rampart_kvm_syscall32[], rampart_kvm_resume[], rampart_kvm_gates[];
extern const char rampart_kvm_vsyscall[], rampart_kvm_vsyscall_end[];
}

namespace rampart::platform::kvm {

inline uint64_t EntryOffset(const char* symbol) { return static_cast<uint64_t>(symbol - rampart_kvm_text_begin); }

}  // namespace rampart::platform::kvm
