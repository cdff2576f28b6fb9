// Virtual batch norm and the leaky ReLU behind it (Salimans et al. 2016, section 3.5), the plain way: one thread
// computes one channel of one example. Read this first; virtual_batch_norm.cuh computes the same, fast.
//
// What is slow here: x is read three times forward and four times backward, and neighbouring threads read
// numbers that lie a plane apart, where a warp should read 128 bytes in a row.
//
// float32 and contiguous only. P = H W is the size of a plane, and a = 1 / (R + 1) for a reference batch of R.
// Launch with at least N C threads.
#pragma once

#include "common.cuh"

namespace gan_ref {

// The mean and variance of a plane x (P) and its reference batch together. With m and v those of x alone:
//
//   mean = a m + (1 - a) rm
//   var  = a (v + (m - mean)^2) + (1 - a) (rv + (rm - mean)^2)
__device__ inline void plain_statistics(const float* x, int P, float rm, float rv, float a, float& mean,
                                        float& var) {
  float m = 0.f, v = 0.f;
  for (int p = 0; p < P; ++p) m += x[p] / P;
  for (int p = 0; p < P; ++p) v += (x[p] - m) * (x[p] - m) / P;
  mean = a * m + (1.f - a) * rm;
  var = a * (v + (m - mean) * (m - mean)) + (1.f - a) * (rv + (rm - mean) * (rm - mean));
}

// Reads x (N, C, P) and, each (C,), the reference batch's mean rm and variance rv, the weight w and the bias b.
// Writes y (N, C, P):
//
//   z = (x - mean) / sqrt(var + eps) w + b,    y = leaky_relu(z)
static __global__ void plain_norm_forward(const float* x, const float* rm, const float* rv, const float* w,
                                          const float* b, int N, int C, int P, float a, float eps,
                                          float slope, float* y) {
  const int64_t plane = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t n = plane / C, c = plane % C;
  if (n >= N) return;
  x += plane * P;
  y += plane * P;

  float mean, var;
  plain_statistics(x, P, rm[c], rv[c], a, mean, var);
  const float r = rsqrtf(var + eps);
  for (int p = 0; p < P; ++p) {
    const float z = (x[p] - mean) * r * w[c] + b[c];
    y[p] = z > 0.f ? z : z * slope;
  }
}

// Reads dy, the gradient of the loss by y, and what the forward reads. Writes dx (N, C, P) and, each (N, C), the
// examples' shares of drm, drv, dw and db, to be summed over n. With dz the gradient by z, r = 1/sqrt(var + eps)
// and sums over the plane:
//
//   dmean = -w r sum dz                               dvar = -w r^3 / 2 sum dz (x - mean)
//   drm   = (1 - a) (dmean + 2 (rm - mean) dvar)      drv  = (1 - a) dvar
//   dw    = r sum dz (x - mean)                       db   = sum dz
//   dx    = w r dz + a / P (dmean + 2 (x - mean) dvar)
static __global__ void plain_norm_backward(const float* dy, const float* x, const float* rm, const float* rv,
                                           const float* w, const float* b, int N, int C, int P, float a,
                                           float eps, float slope, float* dx, float* drm, float* drv,
                                           float* dw, float* db) {
  const int64_t plane = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t n = plane / C, c = plane % C;
  if (n >= N) return;
  dy += plane * P;
  x += plane * P;
  dx += plane * P;

  float mean, var;
  plain_statistics(x, P, rm[c], rv[c], a, mean, var);
  const float r = rsqrtf(var + eps);
  float sum = 0.f, product = 0.f;  // of dz, and of dz (x - mean)
  for (int p = 0; p < P; ++p) {
    const float z = (x[p] - mean) * r * w[c] + b[c];
    const float dz = z > 0.f ? dy[p] : dy[p] * slope;
    sum += dz;
    product += dz * (x[p] - mean);
    dx[p] = w[c] * r * dz;
  }
  const float dmean = -w[c] * r * sum, dvar = -0.5f * w[c] * r * r * r * product;
  for (int p = 0; p < P; ++p) dx[p] += a / P * (dmean + 2.f * (x[p] - mean) * dvar);
  drm[plane] = (1.f - a) * (dmean + 2.f * (rm[c] - mean) * dvar);
  drv[plane] = (1.f - a) * dvar;
  dw[plane] = r * product;
  db[plane] = sum;
}

}  // namespace gan_ref
