// The application's seccomp filters (seccomp(2)), not the Sentry's own: programs in classic BPF, checked once, interpreted for each system call.
//
// Model. A Filter is one program and the filters that were there before it: an immutable list, shared by the threads and children that
// inherit it. All of them run; the most restrictive answer wins, and of equal ones the newest.
// Thread safety: immutable. Ownership: reference-counted. Source: Linux kernel/seccomp.c, net/core/filter.c.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "abi/seccomp.h"
#include "base/ref.h"
#include "base/result.h"

namespace rampart::appfilter {

// Whether the kernel would take it: EINVAL for an empty or too long program, an unknown or forbidden instruction, a jump out of it, a load beyond
// seccomp_data, a scratch word that is read before it is written, or an end that is not a return.
Result<void> CheckProgram(std::span<const abi::SockFilter> program);
// The program's answer. REQUIRES: CheckProgram accepted it.
uint32_t RunProgram(std::span<const abi::SockFilter> program, const abi::SeccompData& data);

class Filter final : public RefCounted {
 public:
  // Adds a program to those before it (null: the first). EINVAL as CheckProgram; ENOMEM when all together have too many instructions.
  static Result<Ref<Filter>> Create(std::vector<abi::SockFilter> program, RefPtr<const Filter> previous);

  // SECCOMP_RET_… with its data.
  uint32_t Evaluate(const abi::SeccompData& data) const;
  // Whether `other` is this filter or one of those before it.
  bool Includes(const Filter* other) const;
  uint32_t count() const { return count_; }
  // The `index`-th program, the oldest first, as long as this filter lives. ENOENT. Linux: get_nth_filter.
  Result<std::span<const abi::SockFilter>> ProgramAt(uint64_t index) const;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  Filter(std::vector<abi::SockFilter> program, RefPtr<const Filter> previous);
  ~Filter() override;

  const std::vector<abi::SockFilter> program_;
  RefPtr<const Filter> previous_;
  const uint32_t count_;         // of filters
  const uint64_t instructions_;  // of all, with the kernel's charge of four for each filter
};

}  // namespace rampart::appfilter
