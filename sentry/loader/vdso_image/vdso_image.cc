// The vDSO's code. It is linked alone, without any library, into an image that the Sentry maps into every address space, right behind the parameter
// page. No data of its own, no relocations; whatever it cannot answer becomes a real system call.
#include "sentry/loader/vdso_params.h"

namespace {

using rampart::loader::VdsoParams;

struct Timespec {
  int64_t tv_sec;
  int64_t tv_nsec;
};
struct Timeval {
  int64_t tv_sec;
  int64_t tv_usec;
};
struct Timezone {
  int minutes_west;
  int dst_time;
};

constexpr long kSysGettimeofday = 96, kSysTime = 201, kSysClockGettime = 228, kSysClockGetres = 229, kSysGetcpu = 309;
constexpr int kRealtime = 0, kMonotonic = 1, kMonotonicRaw = 4, kRealtimeCoarse = 5, kMonotonicCoarse = 6, kBoottime = 7;
constexpr int64_t kNanosPerSecond = 1000000000;
constexpr int64_t kCoarseResolution = 4000000;

long Syscall(long number, const void* a, const void* b, const void* c) {
  long result;
  // SAFETY: the system call is told the registers it destroys.
  asm volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

const void* AsPointer(int64_t value) { return reinterpret_cast<const void*>(value); }

}  // namespace

// The page before the image: vdso_image.lds.
extern "C" [[gnu::visibility("hidden")]] const char rampart_vvar[];

namespace {

// Nanoseconds of a clock; false when only the kernel knows.
bool Read(int clock, int64_t* out) {
  const auto* p = reinterpret_cast<const VdsoParams*>(rampart_vvar);
  for (;;) {
    const uint32_t before = __atomic_load_n(&p->sequence, __ATOMIC_ACQUIRE);
    if ((before & 1) != 0) {
      asm volatile("pause");
      continue;
    }
    if (__atomic_load_n(&p->use_tsc, __ATOMIC_RELAXED) == 0) return false;
    const uint64_t base = __atomic_load_n(&p->tsc_base, __ATOMIC_RELAXED);
    const bool raw = clock == kMonotonicRaw;
    const uint64_t mult = __atomic_load_n(raw ? &p->raw_mult : &p->monotonic_mult, __ATOMIC_RELAXED);
    int64_t at_base = __atomic_load_n(raw ? &p->raw_base : &p->monotonic_base, __ATOMIC_RELAXED);
    if (clock == kRealtime || clock == kRealtimeCoarse) at_base += __atomic_load_n(&p->realtime_offset, __ATOMIC_RELAXED);
    if (clock == kBoottime) at_base += __atomic_load_n(&p->boottime_offset, __ATOMIC_RELAXED);
    const uint64_t tsc = rampart::loader::VdsoReadTsc();
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&p->sequence, __ATOMIC_RELAXED) != before) continue;
    *out = rampart::loader::VdsoScale(tsc, base, mult, at_base);
    return true;
  }
}

bool Knows(int clock) {
  return clock == kRealtime || clock == kMonotonic || clock == kMonotonicRaw || clock == kRealtimeCoarse || clock == kMonotonicCoarse ||
         clock == kBoottime;
}

}  // namespace

extern "C" {

int __vdso_clock_gettime(int clock, Timespec* out) {
  int64_t now;
  if (!Knows(clock) || !Read(clock, &now)) return static_cast<int>(Syscall(kSysClockGettime, AsPointer(clock), out, nullptr));
  out->tv_sec = now / kNanosPerSecond;
  out->tv_nsec = now % kNanosPerSecond;
  return 0;
}

int __vdso_gettimeofday(Timeval* out, Timezone* zone) {
  int64_t now;
  if (!Read(kRealtime, &now)) return static_cast<int>(Syscall(kSysGettimeofday, out, zone, nullptr));
  if (out != nullptr) {
    out->tv_sec = now / kNanosPerSecond;
    out->tv_usec = now % kNanosPerSecond / 1000;
  }
  if (zone != nullptr) *zone = Timezone{0, 0};
  return 0;
}

int64_t __vdso_time(int64_t* out) {
  int64_t now;
  if (!Read(kRealtime, &now)) return Syscall(kSysTime, out, nullptr, nullptr);
  now /= kNanosPerSecond;
  if (out != nullptr) *out = now;
  return now;
}

int __vdso_clock_getres(int clock, Timespec* out) {
  if (!Knows(clock)) return static_cast<int>(Syscall(kSysClockGetres, AsPointer(clock), out, nullptr));
  if (out != nullptr) *out = Timespec{0, clock == kRealtimeCoarse || clock == kMonotonicCoarse ? kCoarseResolution : 1};
  return 0;
}

// Which processor a thread seems to run on is the Sentry's to say.
long __vdso_getcpu(unsigned* cpu, unsigned* node, void* unused) { return Syscall(kSysGetcpu, cpu, node, unused); }

[[gnu::weak, gnu::alias("__vdso_clock_gettime")]] int clock_gettime(int clock, Timespec* out);
[[gnu::weak, gnu::alias("__vdso_gettimeofday")]] int gettimeofday(Timeval* out, Timezone* zone);
[[gnu::weak, gnu::alias("__vdso_time")]] int64_t time(int64_t* out);
[[gnu::weak, gnu::alias("__vdso_clock_getres")]] int clock_getres(int clock, Timespec* out);
[[gnu::weak, gnu::alias("__vdso_getcpu")]] long getcpu(unsigned* cpu, unsigned* node, void* unused);

}  // extern "C"
