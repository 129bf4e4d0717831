// Vdso: our own vDSO: a small ELF image that the application calls for clock_gettime, gettimeofday, time, clock_getres and getcpu without leaving
// its address space, and the parameter page (vvar) from which it computes time.
//
// Model. One Vdso per sandbox: its code and its parameter page live in the memory file and are mapped read-only into every mm: [vvar] one page,
// [vdso] right after it. The parameter page is written by the Sentry under a sequence counter. Time is base + ((tsc - tsc_base) * mult >>
// shift); Now() evaluates the very same page, so system calls and vDSO calls agree and never go backwards relative to each other: everything in the
// Sentry that shows a clock to an application must use Now(). When the host's TSC is not usable, the vDSO makes real system calls and Now()
// asks the host.
// Thread safety: all functions from any thread. Ownership: counted; mappings hold the pages.
#pragma once

#include <cstdint>
#include <memory>

#include "base/ref.h"
#include "base/result.h"
#include "base/time.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"

namespace rampart::loader {

enum class VdsoClock : uint8_t { kRealtime, kMonotonic, kBoottime, kMonotonicRaw };

class Vdso final : public RefCounted {
 public:
  // Copies the image in, and calibrates once (which takes 0.3 ms). `use_tsc`: the host keeps time by the TSC, and the platform shows the
  // application that TSC (ptrace, systrap: yes); without an invariant one it is not used all the same. Errors: ENOMEM.
  static Result<Ref<Vdso>> Create(Ref<mm::MemoryFile> memory_file, bool use_tsc);

  // Compares with the host's clocks and publishes new parameters. Returns when it wants to be called again (10 ms at first, later 1 s); the
  // owner of timers does that. No host call (the host's own vDSO answers). The published time is continuous: a difference is worked off by
  // slope, except steps of CLOCK_REALTIME, which are taken over at once as after settimeofday.
  Nanos Recalibrate();

  // The clock as the application sees it.
  Nanos Now(VdsoClock clock) const;
  // Whether the vDSO answers by itself.
  bool self_sufficient() const;

  // For the loader: pages of [vvar] followed by pages of [vdso], as one Mappable.
  Ref<mm::Mappable> mappable() const;
  uint64_t vvar_bytes() const;
  uint64_t code_bytes() const;

  ~Vdso() override;

 private:
  struct State;
  explicit Vdso(std::unique_ptr<State> state);
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  std::unique_ptr<State> state_;
};

}  // namespace rampart::loader
