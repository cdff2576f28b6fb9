// What both kernels need: the three element types, seen from device code that sums in float32.
//
// No torch header is included here or in any other .cuh, so the tests can compile the same files with the
// host compiler and run a block's threads on the CPU (tests/cuda_on_cpu).
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#else
#include "cuda_on_cpu.h"
#endif

#include <cstdint>

namespace gan_ref {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

enum class Type { float32, float16, bfloat16 };

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ inline void from_float(float value, float& out) { out = value; }
__device__ inline void from_float(float value, __half& out) { out = __float2half(value); }
__device__ inline void from_float(float value, __nv_bfloat16& out) { out = __float2bfloat16(value); }

// One element of a tensor whose type is known only at run time. The branch is the same for every thread, and
// it keeps the number of compiled kernels a third of what a template argument would make it: right where an
// element is read once and then used a hundred times.
__device__ inline float load(const void* data, Type type, int64_t index) {
  if (type == Type::float32) return static_cast<const float*>(data)[index];
  if (type == Type::float16) return to_float(static_cast<const __half*>(data)[index]);
  return to_float(static_cast<const __nv_bfloat16*>(data)[index]);
}

__device__ inline void store(void* data, Type type, int64_t index, float value) {
  if (type == Type::float32) return from_float(value, static_cast<float*>(data)[index]);
  if (type == Type::float16) return from_float(value, static_cast<__half*>(data)[index]);
  return from_float(value, static_cast<__nv_bfloat16*>(data)[index]);
}

// exp(-distance): one multiply and one instruction of the special-function unit. The plain ex2.approx would
// add three instructions to keep subnormal results; a similarity under 1e-38 is 0 here.
__device__ inline float exp_minus(float distance) {
  const float exponent = distance * -1.4426950408889634f;
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
  return result;
#else
  return exp2f(exponent);
#endif
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int power_of_two_at_least(int64_t value) {
  int power = 1;
  while (power < value) power *= 2;
  return power;
}

}  // namespace gan_ref
