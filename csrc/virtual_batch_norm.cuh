// Virtual batch norm with the activation that follows it (Salimans et al. 2016, section 3.5; the form of the
// paper's code, in which the example joins its reference batch), forward and backward, fast;
// virtual_batch_norm_plain.cuh computes the same in the plain way, and is to be read first.
//
// With m, v the mean and variance of one example's channel over H x W and a = 1 / (reference_size + 1):
//
//   mean = a m + (1 - a) reference_mean
//   var  = a (v + (m - mean)^2) + (1 - a) (reference_var + (reference_mean - mean)^2)
//   y    = leaky_relu((x - mean) / sqrt(var + eps) * weight + bias)
//
// The kernels are bound by memory, so x should be read once and y written once: a slab of x is read into
// registers, its mean and then its variance (from x - m, so nothing cancels) are taken there, and y is
// written.
//
// A slab is what one group of threads owns: all of H x W of one example, for one channel (contiguous x) or
// for a few neighbouring channels (channels-last x). Threads read packets of 16 bytes. A group is `rows`
// threads along H x W times `lanes` threads across channels, both powers of two; thread (row, lane) holds the
// packets row, row + rows, row + 2 rows, ... of its lane. In contiguous x a packet is 4 or 8 positions of one
// channel and lanes = 1; in channels-last x it is one position of 4 or 8 channels, and 2 to 8 lanes make 32
// to 128 bytes in a row. Sums over a group go through shuffles, and through shared memory if the group is
// more than a warp.
//
// A slab too large for registers is read twice from memory for its statistics and output. Sizes that 16 bytes
// do not divide, or pointers that are not aligned, take the same path with packets of one element.
#pragma once

#include "common.cuh"

namespace gan_ref {

// Packets a thread holds of each tensor it reads: forward and backward, for contiguous x and across channels.
// With the size of a block they set the largest slab that is read once: 512 threads have 128 registers each.
constexpr int kForwardPackets = 8, kBackwardPackets = 8;
constexpr int kForwardPacketsAcross = 16, kBackwardPacketsAcross = 4;
constexpr int kMaxThreads = 512, kMinThreads = 128;

// One element, or 16 bytes of them. These stay in 32-bit words until used: arrays of half types would be
// given a register an element. Memory sees whole packets only, copied by value: one instruction for 16 bytes,
// where access to a word of a packet in memory is one for 4.
template <typename T, int kVec>
struct alignas(16) Packet {
  uint32_t word[4];

  __device__ float get(int i) const { return unpack(word[i * sizeof(T) / 4], i * sizeof(T) % 4 / 2, T{}); }

  __device__ static Packet of(const float (&value)[kVec]) {
    Packet packet;
#pragma unroll
    for (int w = 0; w < 4; ++w) packet.word[w] = pack(value + w * kVec / 4, T{});
    return packet;
  }

 private:
  __device__ static float unpack(uint32_t word, int, float) { return __uint_as_float(word); }
  __device__ static float unpack(uint32_t word, int upper, __half) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(upper ? word >> 16 : word)));
  }
  __device__ static float unpack(uint32_t word, int upper, __nv_bfloat16) {
    return __uint_as_float(upper ? word & 0xffff0000u : word << 16);
  }
  __device__ static uint32_t pack(const float* value, float) { return __float_as_uint(value[0]); }
  __device__ static uint32_t pack(const float* value, __half) {
    return __half_as_ushort(__float2half(value[0])) |
           uint32_t(__half_as_ushort(__float2half(value[1]))) << 16;
  }
  __device__ static uint32_t pack(const float* value, __nv_bfloat16) {
    return __bfloat16_as_ushort(__float2bfloat16(value[0])) |
           uint32_t(__bfloat16_as_ushort(__float2bfloat16(value[1]))) << 16;
  }
};

template <typename T>
struct Packet<T, 1> {
  T element;

  __device__ float get(int) const { return to_float(element); }
  __device__ static Packet of(const float (&value)[1]) {
    Packet packet;
    from_float(value[0], packet.element);
    return packet;
  }
};

// How x is cut into slabs. Strides are in elements, and one example has fewer than 2^31 of these.
struct Slabs {
  int channels, plane;                      // C and H W
  int positions;                            // packets of one lane along H x W
  int lanes, rows;                          // a group's threads, across channels and along H x W
  int per_example;                          // slabs in one example
  int64_t count;                            // slabs in all
  int channel_stride, position_stride;      // from a channel, and from a packet, to the next
  int threads;                              // in a block: one group or several
};

inline Slabs slabs_of(int64_t examples, int channels, int plane, bool channels_last, int vec, int packets) {
  Slabs slabs{.channels = channels, .plane = plane};
  const int columns = channels_last ? int(ceil_div(channels, vec)) : channels;  // lanes that one example has
  slabs.positions = channels_last ? plane : plane / vec;
  slabs.channel_stride = channels_last ? 1 : plane;
  slabs.position_stride = channels_last ? channels : vec;
  // A thread a packet while a warp can hold the plane: neighbours then read neighbouring addresses.
  const bool one_each = !channels_last && vec > 1 && slabs.positions <= kWarp;
  slabs.lanes = 1;
  slabs.rows = power_of_two_at_least(one_each ? slabs.positions : ceil_div(slabs.positions, packets));
  if (channels_last) {
    // 8 lanes read 128 bytes in a row. Give up lanes, down to 2, while the group is larger than a small
    // block.
    const int widest = min(power_of_two_at_least(columns), vec > 1 ? 8 : kWarp);
    slabs.lanes = widest;
    while (slabs.lanes > 2 && slabs.lanes * slabs.rows > 2 * kMinThreads) slabs.lanes /= 2;
    if (slabs.lanes * slabs.rows > kMaxThreads) slabs.lanes = widest;  // too large to be held in any case
  }
  slabs.rows = min(slabs.rows, kMaxThreads / slabs.lanes);
  slabs.per_example = int(ceil_div(columns, slabs.lanes));
  slabs.count = examples * slabs.per_example;
  slabs.threads = max(slabs.lanes * slabs.rows, kMinThreads);
  return slabs;
}

// Where a thread stands.
struct Place {
  int example, channel, row;  // channel: its lane's first
  int64_t offset;  // of its first packet in x
  int step;        // from one of its packets to the next
  int packets;     // how many are the thread's; with none, it only takes part in the others' barriers
};

template <int kStats>
__device__ inline Place place_of(const Slabs& slabs) {
  const int group = slabs.lanes * slabs.rows, thread = threadIdx.x % group;
  const int64_t slab = int64_t(blockIdx.x) * (blockDim.x / group) + threadIdx.x / group;
  Place place;
  place.example = int(slab / slabs.per_example);
  place.channel = (int(slab % slabs.per_example) * slabs.lanes + thread % slabs.lanes) * kStats;
  place.row = thread / slabs.lanes;
  place.offset = int64_t(place.example) * slabs.channels * slabs.plane +
                 int64_t(place.channel) * slabs.channel_stride + int64_t(place.row) * slabs.position_stride;
  place.step = slabs.rows * slabs.position_stride;
  const bool real = slab < slabs.count && place.channel < slabs.channels;
  place.packets = real ? (slabs.positions - place.row + slabs.rows - 1) / slabs.rows : 0;
  return place;
}

// What shuffles leave to shared memory: a value for each warp, lane and statistic.
template <int kStats>
using WarpSums = float[kMaxThreads / kWarp][kStats > 1 ? 8 * kStats : kWarp];

// Sums `value` over the rows of the group, lane by lane. Every thread gets the same total, in a fixed order.
template <int kStats>
__device__ void sum_over_rows(float (&value)[kStats], const Slabs& slabs, WarpSums<kStats>& sums) {
  const int group = slabs.lanes * slabs.rows;
  for (int offset = slabs.lanes; offset < min(group, kWarp); offset *= 2) {
#pragma unroll
    for (int s = 0; s < kStats; ++s) value[s] += __shfl_xor_sync(kAllLanes, value[s], offset);
  }
  if (group <= kWarp) return;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = group / kWarp;
  const int first = warp / warps * warps, column = lane % slabs.lanes * kStats;
  if (lane < slabs.lanes) {
#pragma unroll
    for (int s = 0; s < kStats; ++s) sums[warp][column + s] = value[s];
  }
  __syncthreads();
#pragma unroll
  for (int s = 0; s < kStats; ++s) value[s] = 0.f;
  for (int w = first; w < first + warps; ++w) {
#pragma unroll
    for (int s = 0; s < kStats; ++s) value[s] += sums[w][column + s];
  }
  __syncthreads();  // the next sum writes here
}

// The per-channel numbers of one example: its own m and v joined with the reference batch.
struct Joined {
  float mean, rstd;
};

__device__ inline Joined join(float m, float v, float reference_mean, float reference_var, float a,
                              float eps) {
  const float mean = a * m + (1.f - a) * reference_mean;
  const float own = m - mean, reference = reference_mean - mean;
  const float var = a * (v + own * own) + (1.f - a) * (reference_var + reference * reference);
  return {mean, rsqrtf(var + eps)};
}

struct Reference {
  const float *mean, *var, *weight, *bias;  // each (C,)
};

struct Gradients {
  float *mean, *var, *weight, *bias;
};

struct Settings {
  float a, eps, negative_slope;
};

// Computes y and each example's own mean and variance.
// Reads x once (kPackets > 0: what each thread holds) or twice (kPackets = 0) and the (C,) vectors; writes y,
// and mean, var (N, C). kStats is 1 where a packet is one channel's, kVec where it is of that many channels.
template <typename T, int kVec, int kStats, int kPackets>
__global__ __launch_bounds__(kMaxThreads, 1) void norm_forward(
    const T* x, Reference reference, Settings settings, Slabs slabs, T* y, float* mean, float* var) {
  using Data = Packet<T, kVec>;
  constexpr bool kHeld = kPackets > 0;
  __shared__ WarpSums<kStats> sums;
  const Place at = place_of<kStats>(slabs);
  const auto packet = [&](int k) {
    return *reinterpret_cast<const Data*>(x + at.offset + k * at.step);
  };

  Data held[kHeld ? kPackets : 1];
  float m[kStats] = {}, v[kStats] = {};
  if constexpr (kHeld) {
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k >= at.packets) break;  // not `if (k < at.packets)`: 16 addresses at a time would not fit
      held[k] = packet(k);
    }
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k >= at.packets) break;
#pragma unroll
      for (int i = 0; i < kVec; ++i) m[i % kStats] += held[k].get(i);
    }
    sum_over_rows<kStats>(m, slabs, sums);
#pragma unroll
    for (int s = 0; s < kStats; ++s) m[s] /= slabs.plane;
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k >= at.packets) break;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        const float d = held[k].get(i) - m[i % kStats];
        v[i % kStats] = fmaf(d, d, v[i % kStats]);
      }
    }
  } else {
    // One reading gives each thread the mean and the squared deviations of its own elements (Chan et al.
    // 1979, packet by packet); these are then referred to the mean of all.
    constexpr int kEach = kVec / kStats;  // a packet's elements of one channel
    float own[kStats] = {}, count = 0.f;
    for (int k = 0; k < at.packets; ++k) {
      const Data data = packet(k);
      count += kEach;
      const float part = kEach / count;
#pragma unroll
      for (int s = 0; s < kStats; ++s) {
        float packet_mean = 0.f, deviations = 0.f;
#pragma unroll
        for (int i = s; i < kVec; i += kStats) packet_mean += data.get(i) / kEach;
#pragma unroll
        for (int i = s; i < kVec; i += kStats) {
          const float d = data.get(i) - packet_mean;
          deviations = fmaf(d, d, deviations);
        }
        const float delta = packet_mean - own[s];
        own[s] = fmaf(delta, part, own[s]);
        v[s] += deviations + delta * delta * (count - kEach) * part;
      }
    }
#pragma unroll
    for (int s = 0; s < kStats; ++s) m[s] = own[s] * (count / slabs.plane);
    sum_over_rows<kStats>(m, slabs, sums);
#pragma unroll
    for (int s = 0; s < kStats; ++s) v[s] += count * (own[s] - m[s]) * (own[s] - m[s]);
  }
  sum_over_rows<kStats>(v, slabs, sums);
  if (at.packets == 0) return;

  float center[kStats], scale[kStats], bias[kStats];
#pragma unroll
  for (int s = 0; s < kStats; ++s) {
    const int c = at.channel + s;
    v[s] /= slabs.plane;
    const Joined joined = join(m[s], v[s], reference.mean[c], reference.var[c], settings.a, settings.eps);
    center[s] = joined.mean;
    scale[s] = joined.rstd * reference.weight[c];
    bias[s] = reference.bias[c];
    if (at.row == 0) {
      mean[int64_t(at.example) * slabs.channels + c] = m[s];
      var[int64_t(at.example) * slabs.channels + c] = v[s];
    }
  }

  const auto write = [&](int k, const Data& data) {
    float result[kVec];
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const int s = i % kStats;
      const float normal = fmaf(data.get(i) - center[s], scale[s], bias[s]);
      result[i] = normal > 0.f ? normal : normal * settings.negative_slope;
    }
    *reinterpret_cast<Data*>(y + at.offset + k * at.step) = Data::of(result);
  };
  if constexpr (kHeld) {
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k < at.packets) write(k, held[k]);
    }
  } else {
    for (int k = 0; k < at.packets; ++k) write(k, packet(k));
  }
}

// Computes grad_x, and per example and channel the sums that the channels' gradients are made of:
// with g the gradient at the activation's input, first = sum g and second = sum g (x - mean), over H x W.
//
//   grad_mean = -weight rstd first           grad_var = -weight rstd^3 second / 2
//   grad_x    = weight rstd g + a / (H W) (grad_mean + 2 grad_var (x - mean))
//
// (The example's own m and v reach y through mean and var only; da mean / dx and da var / dx are the last
// term.) Reads grad and x once (held) or twice; writes grad_x, first and second (N, C).
template <typename T, int kVec, int kStats, int kPackets>
__global__ __launch_bounds__(kMaxThreads, 1) void norm_backward(
    const T* grad, const T* x, Reference reference, const float* mean, const float* var, Settings settings,
    Slabs slabs, T* grad_x, float* first, float* second) {
  using Data = Packet<T, kVec>;
  constexpr bool kHeld = kPackets > 0;
  __shared__ WarpSums<kStats> sums;
  const Place at = place_of<kStats>(slabs);
  const auto packet = [&](const T* data, int k) {
    return *reinterpret_cast<const Data*>(data + at.offset + k * at.step);
  };

  Data held_grad[kHeld ? kPackets : 1], held_x[kHeld ? kPackets : 1];
  if constexpr (kHeld) {
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k >= at.packets) break;
      held_grad[k] = packet(grad, k);
      held_x[k] = packet(x, k);
    }
  }

  const auto joined_at = [&](int s) {
    const int64_t index = int64_t(at.example) * slabs.channels + at.channel + s;
    return join(mean[index], var[index], reference.mean[at.channel + s], reference.var[at.channel + s],
                settings.a,
                settings.eps);
  };
  float center[kStats] = {}, scale[kStats] = {}, bias[kStats] = {};
  if (at.packets > 0) {
#pragma unroll
    for (int s = 0; s < kStats; ++s) {
      const Joined joined = joined_at(s);
      center[s] = joined.mean;
      scale[s] = joined.rstd * reference.weight[at.channel + s];
      bias[s] = reference.bias[at.channel + s];
    }
  }
  // The gradient before the activation; the same arithmetic as the forward decides its side.
  const auto before = [&](float g, float d, int s) {
    return fmaf(d, scale[s], bias[s]) > 0.f ? g : g * settings.negative_slope;
  };

  float sum[kStats] = {}, product[kStats] = {};
  const auto add = [&](const Data& grad_data, const Data& x_data) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const int s = i % kStats;
      const float d = x_data.get(i) - center[s];
      const float g = before(grad_data.get(i), d, s);
      sum[s] += g;
      product[s] = fmaf(g, d, product[s]);
    }
  };
  if constexpr (kHeld) {
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k < at.packets) add(held_grad[k], held_x[k]);
    }
  } else {
    for (int k = 0; k < at.packets; ++k) {
      add(packet(grad, k), packet(x, k));
    }
  }
  sum_over_rows<kStats>(sum, slabs, sums);
  sum_over_rows<kStats>(product, slabs, sums);
  if (at.packets == 0) return;

  float constant[kStats], slope[kStats];  // of the last term of grad_x, in x - mean
  const float share = settings.a / slabs.plane;
#pragma unroll
  for (int s = 0; s < kStats; ++s) {
    if (at.row == 0) {
      const int64_t index = int64_t(at.example) * slabs.channels + at.channel + s;
      first[index] = sum[s];
      second[index] = product[s];
    }
    const float rstd = joined_at(s).rstd;  // again, rather than 8 registers more through the sums
    constant[s] = -share * scale[s] * sum[s];
    slope[s] = -share * scale[s] * rstd * rstd * product[s];
  }
  const auto write = [&](int k, const Data& grad_data, const Data& x_data) {
    float result[kVec];
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const int s = i % kStats;
      const float d = x_data.get(i) - center[s];
      const float g = before(grad_data.get(i), d, s);
      result[i] = fmaf(g, scale[s], fmaf(d, slope[s], constant[s]));
    }
    *reinterpret_cast<Data*>(grad_x + at.offset + k * at.step) = Data::of(result);
  };
  if constexpr (kHeld) {
#pragma unroll
    for (int k = 0; k < kPackets; ++k) {
      if (k < at.packets) write(k, held_grad[k], held_x[k]);
    }
  } else {
    for (int k = 0; k < at.packets; ++k) {
      write(k, packet(grad, k), packet(x, k));
    }
  }
}

// Computes the gradients of the (C,) vectors from the sums of the backward, over the examples in a fixed
// order. Reads first, second, mean, var (N, C); writes the four gradients (C,). A block takes 32 channels, so
// that a warp reads 128 bytes in a row, and 16 examples at a time.
constexpr int kExamplesAtOnce = 16;

static __global__ __launch_bounds__(kWarp * kExamplesAtOnce) void norm_channels(
    const float* first, const float* second, Reference reference, const float* mean, const float* var,
    Settings settings, int examples, int channels, Gradients grads) {
  __shared__ float sums[4][kExamplesAtOnce][kWarp];
  const int row = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, c = blockIdx.x * kWarp + lane;
  float total[4] = {};
  if (c < channels) {
    const float weight = reference.weight[c];
#pragma unroll 4
    for (int n = row; n < examples; n += kExamplesAtOnce) {
      const int64_t index = int64_t(n) * channels + c;
      const Joined joined =
          join(mean[index], var[index], reference.mean[c], reference.var[c], settings.a, settings.eps);
      const float xhat_sum = second[index] * joined.rstd;  // sum g (x - mean) rstd
      const float grad_mean = -joined.rstd * weight * first[index];
      const float grad_var = -0.5f * joined.rstd * joined.rstd * weight * xhat_sum;
      total[0] += (1.f - settings.a) * (grad_mean + 2.f * grad_var * (reference.mean[c] - joined.mean));
      total[1] += (1.f - settings.a) * grad_var;
      total[2] += xhat_sum;
      total[3] += first[index];
    }
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) sums[k][row][lane] = total[k];
  __syncthreads();
  if (row >= 4 || c >= channels) return;
  float sum = 0.f;
  for (int r = 0; r < kExamplesAtOnce; ++r) sum += sums[row][r][lane];
  (row == 0 ? grads.mean : row == 1 ? grads.var : row == 2 ? grads.weight : grads.bias)[c] = sum;
}

// The tensors' sizes, and what the kernels may assume about their memory.
struct NormShape {
  int64_t examples;
  int channels, plane;  // C, H W
  bool channels_last;
  bool aligned;  // x, grad and the result start at multiples of 16 bytes
};

// Calls run<T, kVec, kStats, kPackets>(slabs, blocks) with what fits the shape.
template <typename T, int kPackets, int kPacketsAcross, typename Run>
void with_slabs(const NormShape& shape, const Run& run) {
  constexpr int kVec = 16 / sizeof(T);
  const bool wide = shape.aligned && (shape.channels_last ? shape.channels : shape.plane) % kVec == 0;
  const bool across = wide && shape.channels_last;
  const int most = across ? kPacketsAcross : kPackets;
  const Slabs slabs = slabs_of(shape.examples, shape.channels, shape.plane, shape.channels_last,
                               wide ? kVec : 1, most);
  const int64_t needed = ceil_div(slabs.positions, slabs.rows);
  const int64_t blocks = ceil_div(slabs.count, slabs.threads / (slabs.lanes * slabs.rows));
  if (across && needed <= most) return run.template operator()<T, kVec, kVec, kPacketsAcross>(slabs, blocks);
  if (across) return run.template operator()<T, kVec, kVec, 0>(slabs, blocks);
  if (wide && needed == 1) return run.template operator()<T, kVec, 1, 1>(slabs, blocks);
  if (wide && needed <= most) return run.template operator()<T, kVec, 1, kPackets>(slabs, blocks);
  if (wide) return run.template operator()<T, kVec, 1, 0>(slabs, blocks);
  if (needed <= most) return run.template operator()<T, 1, 1, kPackets>(slabs, blocks);
  run.template operator()<T, 1, 1, 0>(slabs, blocks);
}

template <int kPackets, int kPacketsAcross, typename Run>
void with_slabs(Type type, const NormShape& shape, const Run& run) {
  if (type == Type::float32) return with_slabs<float, kPackets, kPacketsAcross>(shape, run);
  if (type == Type::float16) return with_slabs<__half, kPackets, kPacketsAcross>(shape, run);
  with_slabs<__nv_bfloat16, kPackets, kPacketsAcross>(shape, run);
}

// The host's part, the same on a GPU and in the tests: launch(kernel, blocks, threads, arguments...) starts a
// kernel.
template <typename Launch>
void launch_norm_forward(const Launch& launch, Type type, const NormShape& shape, const void* x,
                         Reference reference, Settings settings, void* y, float* mean, float* var) {
  if (shape.examples == 0 || shape.channels == 0 || shape.plane == 0) return;
  with_slabs<kForwardPackets, kForwardPacketsAcross>(
      type, shape, [&]<typename T, int kVec, int kStats, int kPackets>(const Slabs& slabs, int64_t blocks) {
        launch(norm_forward<T, kVec, kStats, kPackets>, blocks, slabs.threads,
               static_cast<const T*>(x), reference, settings, slabs, static_cast<T*>(y), mean, var);
      });
}

// `sums` is scratch of 2 N C floats.
template <typename Launch>
void launch_norm_backward(const Launch& launch, Type type, const NormShape& shape, const void* grad,
                          const void* x, Reference reference, const float* mean, const float* var,
                          Settings settings, void* grad_x, float* sums, Gradients grads) {
  if (shape.channels == 0) return;
  float *first = sums, *second = sums + shape.examples * shape.channels;
  if (shape.examples > 0 && shape.plane > 0) {
    with_slabs<kBackwardPackets, kBackwardPacketsAcross>(
        type, shape, [&]<typename T, int kVec, int kStats, int kPackets>(const Slabs& slabs, int64_t blocks) {
          launch(norm_backward<T, kVec, kStats, kPackets>, blocks, slabs.threads,
                 static_cast<const T*>(grad), static_cast<const T*>(x), reference, mean, var, settings, slabs,
                 static_cast<T*>(grad_x), first, second);
        });
  }
  launch(norm_channels, ceil_div(shape.channels, kWarp), kWarp * kExamplesAtOnce,
         static_cast<const float*>(first), static_cast<const float*>(second), reference, mean, var, settings,
         int(shape.plane > 0 ? shape.examples : 0), shape.channels, grads);
}

}  // namespace gan_ref
