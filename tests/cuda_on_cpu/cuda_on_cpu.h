// Runs CUDA device code on the CPU: the threads of a block are threads, one block after another.
//
// It is slow and exact about what matters: __syncthreads is a barrier, shuffles exchange values between the
// 32 threads of a warp, __shared__ is storage that all threads of the block share. So the address sanitizer
// sees every index, and the thread sanitizer every missing barrier, of the very files that nvcc compiles.
// Only what csrc/*.cuh use is here.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __restrict__
// Blocks run one at a time, so a block's shared memory can be a static variable of the kernel.
#define __shared__ static

using std::max;
using std::min;

struct Dim {
  unsigned x = 0, y = 0, z = 0;
};

inline thread_local Dim threadIdx;
inline thread_local Dim blockIdx;
inline Dim blockDim, gridDim;  // set before the threads start

namespace cuda_on_cpu {

constexpr unsigned kLanes = 32;

// std::barrier would do, but its waiters meet in tables that all barriers share: the thread sanitizer takes
// that for an order between threads that have none, and overlooks some missing barriers.
class Barrier {
 public:
  explicit Barrier(unsigned count) : count_(count) {}

  void arrive_and_wait() {
    const uint32_t round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      syscall(SYS_futex, &round_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
      return;
    }
    while (round_.load(std::memory_order_acquire) == round) {
      syscall(SYS_futex, &round_, FUTEX_WAIT_PRIVATE, round, nullptr, nullptr, 0);
    }
  }

 private:
  const unsigned count_;
  std::atomic<uint32_t> arrived_ = 0, round_ = 0;
};

// One warp's mailbox. Two sets of slots take turns: a slow reader of one exchange cannot meet a writer of the
// next but one, because the exchange between them has a barrier.
struct Warp {
  explicit Warp(unsigned lanes) : barrier(lanes) {}
  Barrier barrier;
  uint32_t slots[2][kLanes] = {};
};

inline std::unique_ptr<Barrier> block_barrier;
inline std::vector<std::unique_ptr<Warp>> warps;
inline thread_local unsigned turn;

inline uint32_t exchange(unsigned mask, uint32_t value, unsigned source) {
  if (mask != 0xffffffffu || source >= kLanes) {
    std::fprintf(stderr, "a shuffle with mask %x reads lane %u\n", mask, source);
    std::abort();
  }
  Warp& warp = *warps[threadIdx.x / kLanes];
  uint32_t(&slots)[kLanes] = warp.slots[turn++ % 2];
  slots[threadIdx.x % kLanes] = value;
  warp.barrier.arrive_and_wait();
  return slots[source];
}

// kernel<<<blocks, threads>>>(arguments...)
struct Launch {
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, Arguments... arguments) const {
    if (threads % kLanes != 0 || threads < 1 || threads > 1024 || blocks < 1 || blocks > INT32_MAX) {
      std::fprintf(stderr, "a launch of %lld blocks of %d threads\n", static_cast<long long>(blocks),
                   threads);
      std::abort();
    }
    blockDim = {unsigned(threads), 1, 1};
    gridDim = {unsigned(blocks), 1, 1};
    block_barrier = std::make_unique<Barrier>(threads);
    warps.clear();
    for (int first = 0; first < threads; first += kLanes) warps.push_back(std::make_unique<Warp>(kLanes));
    std::vector<std::jthread> pool;
    for (int thread = 0; thread < threads; ++thread) {
      pool.emplace_back([=] {
        threadIdx = {unsigned(thread), 0, 0};
        turn = 0;
        for (unsigned block = 0; block < blocks; ++block) {
          blockIdx = {block, 0, 0};
          kernel(arguments...);
          block_barrier->arrive_and_wait();
        }
      });
    }
  }
};

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::block_barrier->arrive_and_wait(); }

inline void __syncwarp() { cuda_on_cpu::warps[threadIdx.x / cuda_on_cpu::kLanes]->barrier.arrive_and_wait(); }

inline float __shfl_sync(unsigned mask, float value, unsigned lane) {
  return std::bit_cast<float>(cuda_on_cpu::exchange(mask, std::bit_cast<uint32_t>(value), lane));
}

inline float __shfl_xor_sync(unsigned mask, float value, unsigned lanes) {
  return __shfl_sync(mask, value, (threadIdx.x % cuda_on_cpu::kLanes) ^ lanes);
}

// NaN gives 0
inline float __saturatef(float value) { return value > 0.f ? (value < 1.f ? value : 1.f) : 0.f; }
inline float rsqrtf(float value) { return 1.f / std::sqrt(value); }

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }

// bfloat16 is the upper half of a float32, rounded to nearest even.
struct __nv_bfloat16 {
  uint16_t bits;
};

inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

inline float __bfloat162float(__nv_bfloat16 value) {
  return std::bit_cast<float>(uint32_t(value.bits) << 16);
}

inline __nv_bfloat16 __float2bfloat16(float value) {
  if (std::isnan(value)) return {0x7fff};
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// float16: 5 bits of exponent, 10 of fraction. ldexp and nearbyint do the rounding, subnormals included.
struct __half {
  uint16_t bits;
};

inline uint16_t __half_as_ushort(__half value) { return value.bits; }
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }

inline float __half2float(__half value) {
  const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  const float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                          : exponent     ? std::ldexp(1024.f + fraction, exponent - 25)
                                         : std::ldexp(float(fraction), -24);
  return value.bits >> 15 ? -magnitude : magnitude;
}

inline __half __float2half(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return {0x7fff};
  if (magnitude >= 65520.f) return {uint16_t(sign | 0x7c00)};
  const int exponent = magnitude < std::ldexp(1.f, -14) ? -14 : std::ilogb(magnitude);
  const int fraction = int(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // 1024 where normal
  return {uint16_t(sign | (((exponent + 14) << 10) + fraction))};
}
