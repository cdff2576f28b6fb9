// Minibatch discrimination's similarity (Salimans et al. 2016, section 3.2), the plain way: one thread computes
// one sample i under one kernel b. Read this first; similarity.cuh computes the same, fast.
//
// What is slow here: each pair of samples is computed twice, by the thread of i and by that of j, and every
// thread reads all samples from memory, N^2 B C numbers in all.
//
// float32 only. Launch with at least N B threads.
#pragma once

#include "common.cuh"

namespace gan_ref {

// Reads f (N, B, C), writes o (N, B):
//
//   o[i,b] = sum over j != i of exp(-d_ij),     d_ij = sum over c of |f[i,b,c] - f[j,b,c]|
static __global__ void plain_similarity_forward(const float* f, int N, int B, int C, float* o) {
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t i = thread / B, b = thread % B;
  if (i >= N) return;

  float sum = 0.f;
  for (int64_t j = 0; j < N; ++j) {
    if (j == i) continue;
    float distance = 0.f;
    for (int c = 0; c < C; ++c) distance += fabsf(f[(i * B + b) * C + c] - f[(j * B + b) * C + c]);
    sum += expf(-distance);
  }
  o[i * B + b] = sum;
}

// Reads g (N, B), the gradient of the loss by o, and f (N, B, C); writes df (N, B, C):
//
//   df[i,b,c] = -sum over j != i of (g[i,b] + g[j,b]) exp(-d_ij) sign(f[i,b,c] - f[j,b,c])
//
// The term g[i,b] comes from o[i,b], and g[j,b] from o[j,b], in which f[i] stands as well.
static __global__ void plain_similarity_backward(const float* g, const float* f, int N, int B, int C,
                                                 float* df) {
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t i = thread / B, b = thread % B;
  if (i >= N) return;

  for (int c = 0; c < C; ++c) df[(i * B + b) * C + c] = 0.f;
  for (int64_t j = 0; j < N; ++j) {
    if (j == i) continue;
    float distance = 0.f;
    for (int c = 0; c < C; ++c) distance += fabsf(f[(i * B + b) * C + c] - f[(j * B + b) * C + c]);
    const float w = (g[i * B + b] + g[j * B + b]) * expf(-distance);
    for (int c = 0; c < C; ++c) {
      const float t = f[(i * B + b) * C + c] - f[(j * B + b) * C + c];
      df[(i * B + b) * C + c] -= t > 0.f ? w : t < 0.f ? -w : 0.f;
    }
  }
}

}  // namespace gan_ref
