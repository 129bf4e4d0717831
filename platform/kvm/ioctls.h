// The KVM ioctls in use once the Sentry's seccomp filter is on, each with its kind of descriptor and its reason: the one list.
#pragma once

// <linux/kvm.h> under g++: Debian 12's __DECLARE_FLEX_ARRAY gives an empty struct a size in C++, so that kvm_cpuid2 and others, and the
// ioctl numbers made of their sizes, come out wrong. Every file of ours that needs the header takes it from here.
#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[0]
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <linux/kvm.h>
#pragma GCC diagnostic pop

#include <array>
#include <cstdint>

namespace rampart::platform::kvm {

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_signal_mask) == 4);

enum class FdKind : uint8_t { kVm, kVcpu };

struct UsedIoctl {
  FdKind kind;
  uint32_t request;
  const char* reason;
};

inline constexpr std::array<UsedIoctl, 12> kUsedIoctls = {{
    {FdKind::kVcpu, KVM_RUN, "kvm: run application code"},
    {FdKind::kVcpu, KVM_INTERRUPT, "kvm: take a virtual processor out of application code"},
    {FdKind::kVcpu, KVM_GET_XSAVE, "kvm: extended state for signal frames"},
    {FdKind::kVcpu, KVM_SET_XSAVE, "kvm: extended state of a new thread, of sigreturn"},
    {FdKind::kVcpu, KVM_SET_CPUID2, "kvm: a new virtual processor"},
    {FdKind::kVcpu, KVM_SET_SREGS, "kvm: a new virtual processor, or one whose guest broke it"},
    {FdKind::kVcpu, KVM_SET_REGS, "kvm: a new virtual processor, or one whose guest broke it"},
    {FdKind::kVcpu, KVM_SET_XCRS, "kvm: a new virtual processor"},
    {FdKind::kVcpu, KVM_SET_MSRS, "kvm: a new virtual processor"},
    {FdKind::kVcpu, KVM_SET_DEVICE_ATTR, "kvm: a new virtual processor (its time-stamp counter shows the host's)"},
    {FdKind::kVm, KVM_CREATE_VCPU, "kvm: another thread of application code"},
    {FdKind::kVm, KVM_SET_USER_MEMORY_REGION, "kvm: files and memory as guest memory"},
}};

}  // namespace rampart::platform::kvm
