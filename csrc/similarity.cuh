// Minibatch discrimination's similarity (Salimans et al. 2016, section 3.2), forward and backward, fast;
// similarity_plain.cuh computes the same in the plain way, and is to be read first:
//
//   o[i,b]    =  sum over j != i of exp(-d_ij),                d_ij = sum over c of |f[i,b,c] - f[j,b,c]|
//   df[i,b,c] = -sum over j != i of (g[i,b] + g[j,b]) exp(-d_ij) sign(f[i,b,c] - f[j,b,c])
//
// f is (N, B, C), o and g are (N, B). No (N, N) array is ever written: the backward computes d again.
//
// The work is N*N*B*C subtractions and additions and N*N*B exponentials, over data that fits the L2 cache, so
// instructions are what counts. Three things keep them few:
//
// * d is symmetric: a pair of samples is computed once and added to both. Samples are cut into tiles of S,
//   and a block takes one b and one pair of tiles (rows, columns) with rows <= columns.
// * The columns walk around the warp. A lane keeps R rows in registers (S = 32 R) and a warp has 32 columns;
//   at step s lane l meets column l + s mod 32, adds to its own rows, and hands the column's sum to its
//   neighbour with one shuffle. After 32 steps every column is home with the sum over all S rows. Nothing is
//   reduced across lanes, and shared memory is read without bank conflicts. The R warps of a block take 32
//   columns each and add up their rows at the end.
// * sign(t) costs one instruction: saturate(t * FLT_MAX + 1/2) is 1, 1/2 or 0 as t is positive, zero or
//   negative, and sum w sign(t) = 2 sum w saturate(...) - sum w. A tie has derivative exactly 0.
//
// Per unordered pair with C = 5 that is about 13 instructions forward and 30 backward, against the 22 and 46
// of computing each pair twice.
//
// A block owns what it writes: the sums of row i over the columns of group Q go to partial[Q][i], those of
// column j over the rows of group P to partial[P][j], each slot exactly once or repeatedly by one thread. A
// second kernel adds the groups in order. There are no atomics, so equal inputs give equal bits. There are at
// most 8 groups of tiles, so memory is O(N B C). With one tile (N <= 128 for small C) the first kernel writes
// the result itself.
#pragma once

#include <cfloat>

#include "common.cuh"

namespace gan_ref {

constexpr int kMaxChannels = 64;
constexpr int kMaxGroups = 8;
// Four warps for each place an H200 has for one (132 multiprocessors, about 32 warps each): enough to
// balance.
constexpr int64_t kEnoughWarps = 16384;

// R: rows a lane keeps. A row takes C registers forward and 2 C backward. (One block a multiprocessor is
// asked for below: left to itself the compiler spills a few bytes here and there to fit one block more.)
template <int C>
constexpr int kRows = C <= 8 ? 4 : C <= 16 ? 2 : 1;

template <int C>
constexpr int kTile = kWarp * kRows<C>;

// One b's features of one tile, channel by channel, so that lanes which hold consecutive samples read
// consecutive words. The odd row length spreads the transposing writes over the banks.
template <int C>
using Tile = float[C][kTile<C> + 1];

struct SimilarityShape {
  int samples, kernels, channels;  // N, B, C
  int tiles, groups, tiles_per_group;

  int64_t pairs() const { return int64_t(groups) * (groups + 1) / 2; }
  __host__ __device__ int64_t elements() const { return int64_t(samples) * kernels; }
};

inline SimilarityShape similarity_shape(int samples, int kernels, int channels, int tile) {
  SimilarityShape shape{samples, kernels, channels, int(ceil_div(samples, tile)), 1, 1};
  const int most = shape.tiles < kMaxGroups ? shape.tiles : kMaxGroups;
  while (shape.groups < most && shape.pairs() * kernels * (tile / kWarp) < kEnoughWarps) ++shape.groups;
  shape.tiles_per_group = int(ceil_div(shape.tiles, shape.groups));
  shape.groups = int(ceil_div(shape.tiles, shape.tiles_per_group));
  return shape;
}

// A block's two groups of tiles and its b: blocks with neighbouring b run together and share cache lines.
struct BlockWork {
  int row_group, column_group, kernel;
};

__device__ inline BlockWork block_work(int kernels) {
  int pair = blockIdx.x / kernels, column_group = 0;
  while (pair > column_group) pair -= ++column_group;
  return {pair, column_group, int(blockIdx.x % kernels)};
}

// Samples past the end and channels that pad C to a compiled size are zeros.
template <int C>
__device__ void load_tile(Tile<C>& tile, const void* features, Type type, const SimilarityShape& shape,
                          int kernel, int first) {
  for (int e = threadIdx.x; e < kTile<C> * C; e += kTile<C>) {
    const int row = e / C, c = e % C;
    const bool real = first + row < shape.samples && c < shape.channels;
    const int64_t index = (int64_t(first + row) * shape.kernels + kernel) * shape.channels + c;
    tile[c][row] = real ? load(features, type, index) : 0.f;
  }
}

// Two sums, so that half of the additions do not wait for the other half.
template <int C>
__device__ inline float l1(const float (&difference)[C]) {
  float even = fabsf(difference[0]), odd = 0.f;
  if constexpr (C > 1) odd = fabsf(difference[1]);
#pragma unroll
  for (int c = 2; c < C; c += 2) even += fabsf(difference[c]);
#pragma unroll
  for (int c = 3; c < C; c += 2) odd += fabsf(difference[c]);
  return C > 1 ? even + odd : even;
}

// Which pairs of a tile count. Only tiles on the diagonal and at the end have to ask.
struct Bounds {
  int rows, columns;
  bool diagonal;

  __device__ bool real(int row, int column) const {
    return row < rows && column < columns && !(diagonal && row == column);
  }
};

// All columns of this warp meet all rows of the tile. row_sum[r] belongs to row 32 r + lane, column_sum to
// column 32 warp + lane.
template <int C, bool kCareful>
__device__ void meet(const float (&x)[kRows<C>][C], const Tile<C>& columns, Bounds bounds,
                     float (&row_sum)[kRows<C>], float& column_sum) {
  const int lane = threadIdx.x % kWarp, first = threadIdx.x - lane;
#pragma unroll 1
  for (int step = 0; step < kWarp; ++step) {
    const int column = first + (lane + step) % kWarp;
    float y[C];
#pragma unroll
    for (int c = 0; c < C; ++c) y[c] = columns[c][column];
#pragma unroll
    for (int r = 0; r < kRows<C>; ++r) {
      if (kCareful && r * kWarp >= bounds.rows) continue;
      float t[C];
#pragma unroll
      for (int c = 0; c < C; ++c) t[c] = x[r][c] - y[c];
      float e = exp_minus(l1<C>(t));
      if (kCareful && !bounds.real(r * kWarp + lane, column)) e = 0.f;
      row_sum[r] += e;
      column_sum += e;
    }
    column_sum = __shfl_sync(kAllLanes, column_sum, (lane + 1) % kWarp);
  }
}

// The same walk, for the gradient. w = (g_i + g_j) exp(-d) is the pair's weight; *_sum[c] adds w
// saturate(...), *_weight adds w. The columns' sums travel with them.
template <int C, bool kCareful>
__device__ void meet_backward(const float (&x)[kRows<C>][C], const float (&g)[kRows<C>],
                              const Tile<C>& columns, const float* column_grad, Bounds bounds,
                              float (&row_sum)[kRows<C>][C], float (&row_weight)[kRows<C>],
                              float (&column_sum)[C], float& column_weight) {
  const int lane = threadIdx.x % kWarp, first = threadIdx.x - lane, next = (lane + 1) % kWarp;
#pragma unroll 1
  for (int step = 0; step < kWarp; ++step) {
    const int column = first + (lane + step) % kWarp;
#pragma unroll
    for (int r = 0; r < kRows<C>; ++r) {
      if (kCareful && r * kWarp >= bounds.rows) continue;
      float t[C];
#pragma unroll
      for (int c = 0; c < C; ++c) t[c] = x[r][c] - columns[c][column];
      float w = (g[r] + column_grad[column]) * exp_minus(l1<C>(t));
      if (kCareful && !bounds.real(r * kWarp + lane, column)) w = 0.f;
      row_weight[r] += w;
      column_weight += w;
      if constexpr (C > 32) __syncwarp();  // 64 differences do not fit the registers: read the columns again
#pragma unroll
      for (int c = 0; c < C; ++c) {
        const float positive = __saturatef(fmaf(x[r][c] - columns[c][column], FLT_MAX, 0.5f));
        row_sum[r][c] = fmaf(w, positive, row_sum[r][c]);
        column_sum[c] = fmaf(w, positive, column_sum[c]);
      }
    }
    column_weight = __shfl_sync(kAllLanes, column_weight, next);
#pragma unroll
    for (int c = 0; c < C; ++c) column_sum[c] = __shfl_sync(kAllLanes, column_sum[c], next);
  }
}

// Computes o, or its parts by group of columns.
// Reads features (N, B, C). Writes out (N, B) if there is one tile, else partial (groups, N, B).
// A block of S threads takes one b and two groups of tiles; there are pairs() * B blocks.
template <int C>
__global__ __launch_bounds__(kTile<C>, 1) void similarity_forward(
    const void* features, Type type, SimilarityShape shape, float* partial, void* out) {
  constexpr int R = kRows<C>, S = kTile<C>;
  __shared__ Tile<C> rows, columns;
  __shared__ float row_sums[R][S], column_sums[S];
  const auto [P, Q, kernel] = block_work(shape.kernels);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int last_row = min((P + 1) * shape.tiles_per_group, shape.tiles);
  const int last_column = min((Q + 1) * shape.tiles_per_group, shape.tiles);

  // Thread t adds to its slot of sample first + t: the same thread each time, so nothing has to be ordered.
  const auto put = [&](int group, int sample, float sum, bool is_first) {
    if (sample >= shape.samples) return;
    const int64_t index = int64_t(sample) * shape.kernels + kernel;
    if (shape.tiles == 1) return store(out, type, index, sum);
    float& slot = partial[group * shape.elements() + index];
    slot = is_first ? sum : slot + sum;
  };

  for (int I = P * shape.tiles_per_group; I < last_row; ++I) {
    load_tile<C>(rows, features, type, shape, kernel, I * S);
    const int first_column = Q * shape.tiles_per_group;
    for (int J = max(I, first_column); J < last_column; ++J) {
      __syncthreads();  // the columns and sums of the pair before are no longer read
      load_tile<C>(columns, features, type, shape, kernel, J * S);
      __syncthreads();

      float x[R][C], row_sum[R] = {}, column_sum = 0.f;
#pragma unroll
      for (int r = 0; r < R; ++r)
#pragma unroll
        for (int c = 0; c < C; ++c) x[r][c] = rows[c][r * kWarp + lane];
      const Bounds bounds{shape.samples - I * S, shape.samples - J * S, I == J};
      if (!bounds.diagonal && bounds.columns >= S) {
        meet<C, false>(x, columns, bounds, row_sum, column_sum);
      } else if (warp * kWarp < bounds.columns) {
        meet<C, true>(x, columns, bounds, row_sum, column_sum);
      }

#pragma unroll
      for (int r = 0; r < R; ++r) row_sums[warp][r * kWarp + lane] = row_sum[r];
      column_sums[threadIdx.x] = column_sum;
      __syncthreads();
      float sum = 0.f;
#pragma unroll
      for (int w = 0; w < R; ++w) sum += row_sums[w][threadIdx.x];
      put(Q, I * S + threadIdx.x, sum, J == first_column);
      if (I != J) put(P, J * S + threadIdx.x, column_sums[threadIdx.x], I == P * shape.tiles_per_group);
    }
  }
}

// Computes df, or its parts by group of columns.
// Reads features (N, B, C) and grad (N, B). Writes grad_features (N, B, C) if there is one tile, else partial
// (groups, N, B, C). Blocks as in the forward.
template <int C>
__global__ __launch_bounds__(kTile<C>, 1) void similarity_backward(
    const void* grad, Type grad_type, const void* features, Type type, SimilarityShape shape, float* partial,
    void* grad_features) {
  constexpr int R = kRows<C>, S = kTile<C>;
  __shared__ Tile<C> rows, columns, row_sums[R], column_sums;
  __shared__ float column_grad[S];
  const auto [P, Q, kernel] = block_work(shape.kernels);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int last_row = min((P + 1) * shape.tiles_per_group, shape.tiles);
  const int last_column = min((Q + 1) * shape.tiles_per_group, shape.tiles);

  const auto grad_of = [&](int sample) {
    return sample < shape.samples ? load(grad, grad_type, int64_t(sample) * shape.kernels + kernel) : 0.f;
  };
  const auto put = [&](int group, int sample, int c, float sum, bool is_first) {
    if (sample >= shape.samples || c >= shape.channels) return;
    const int64_t index = (int64_t(sample) * shape.kernels + kernel) * shape.channels + c;
    if (shape.tiles == 1) return store(grad_features, type, index, sum);
    float& slot = partial[group * shape.elements() * shape.channels + index];
    slot = is_first ? sum : slot + sum;
  };

  for (int I = P * shape.tiles_per_group; I < last_row; ++I) {
    load_tile<C>(rows, features, type, shape, kernel, I * S);
    const int first_column = Q * shape.tiles_per_group;
    for (int J = max(I, first_column); J < last_column; ++J) {
      __syncthreads();  // the columns and sums of the pair before are no longer read
      load_tile<C>(columns, features, type, shape, kernel, J * S);
      column_grad[threadIdx.x] = grad_of(J * S + threadIdx.x);
      __syncthreads();

      float x[R][C], g[R];
      float row_sum[R][C] = {}, row_weight[R] = {}, column_sum[C] = {}, column_weight = 0.f;
#pragma unroll
      for (int r = 0; r < R; ++r) {
        g[r] = grad_of(I * S + r * kWarp + lane);
#pragma unroll
        for (int c = 0; c < C; ++c) x[r][c] = rows[c][r * kWarp + lane];
      }
      const Bounds bounds{shape.samples - I * S, shape.samples - J * S, I == J};
      if (!bounds.diagonal && bounds.columns >= S) {
        meet_backward<C, false>(x, g, columns, column_grad, bounds, row_sum, row_weight, column_sum,
                                column_weight);
      } else if (warp * kWarp < bounds.columns) {
        meet_backward<C, true>(x, g, columns, column_grad, bounds, row_sum, row_weight, column_sum,
                               column_weight);
      }

      // The derivative for a row carries -sign(f_i - f_j), for a column +sign.
#pragma unroll
      for (int c = 0; c < C; ++c) {
#pragma unroll
        for (int r = 0; r < R; ++r) row_sums[warp][c][r * kWarp + lane] = row_weight[r] - 2.f * row_sum[r][c];
        column_sums[c][threadIdx.x] = 2.f * column_sum[c] - column_weight;
      }
      __syncthreads();
      for (int e = threadIdx.x; e < S * C; e += S) {
        const int row = e / C, c = e % C;
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < R; ++w) sum += row_sums[w][c][row];
        put(Q, I * S + row, c, sum, J == first_column);
        if (I != J) put(P, J * S + row, c, column_sums[c][row], I == P * shape.tiles_per_group);
      }
    }
  }
}

// Adds the groups' parts in order. Reads partial (groups, elements), writes out (elements); a thread an
// element.
static __global__ void sum_groups(const float* partial, int groups, int64_t elements, Type type, void* out) {
  const int64_t e = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= elements) return;
  float sum = 0.f;
  for (int group = 0; group < groups; ++group) sum += partial[group * elements + e];
  store(out, type, e, sum);
}

// Calls run with the smallest compiled C that holds `channels`: any C up to 64 costs what the next one costs.
template <typename Run>
void with_channels(int channels, Run run) {
  const auto use = [&]<int C>() { run.template operator()<C>(); };
  if (channels <= 1) return use.template operator()<1>();
  if (channels <= 2) return use.template operator()<2>();
  if (channels <= 3) return use.template operator()<3>();
  if (channels <= 4) return use.template operator()<4>();
  if (channels <= 5) return use.template operator()<5>();
  if (channels <= 8) return use.template operator()<8>();
  if (channels <= 16) return use.template operator()<16>();
  if (channels <= 32) return use.template operator()<32>();
  use.template operator()<64>();
}

// The host's part, the same on a GPU and in the tests. launch(kernel, blocks, threads, arguments...) starts a
// kernel; scratch(count) gives that many floats that live until the kernels have run.
template <typename Launch, typename Scratch>
void launch_similarity_forward(const Launch& launch, const Scratch& scratch, const void* features, Type type,
                               int samples, int kernels, int channels, void* out) {
  if (samples == 0 || kernels == 0) return;
  with_channels(channels, [&]<int C>() {
    const SimilarityShape shape = similarity_shape(samples, kernels, channels, kTile<C>);
    float* partial = shape.tiles > 1 ? scratch(shape.groups * shape.elements()) : nullptr;
    launch(similarity_forward<C>, shape.pairs() * kernels, kTile<C>, features, type, shape, partial, out);
    if (partial) {
      launch(sum_groups, ceil_div(shape.elements(), 256), 256, static_cast<const float*>(partial),
             shape.groups, shape.elements(), type, out);
    }
  });
}

template <typename Launch, typename Scratch>
void launch_similarity_backward(const Launch& launch, const Scratch& scratch, const void* grad,
                                Type grad_type, const void* features, Type type, int samples, int kernels,
                                int channels, void* grad_features) {
  if (samples == 0 || kernels == 0 || channels == 0) return;
  with_channels(channels, [&]<int C>() {
    const SimilarityShape shape = similarity_shape(samples, kernels, channels, kTile<C>);
    const int64_t elements = shape.elements() * channels;
    float* partial = shape.tiles > 1 ? scratch(shape.groups * elements) : nullptr;
    launch(similarity_backward<C>, shape.pairs() * kernels, kTile<C>, grad, grad_type, features, type, shape,
           partial, grad_features);
    if (partial) {
      launch(sum_groups, ceil_div(elements, 256), 256, static_cast<const float*>(partial), shape.groups,
             elements, type, grad_features);
    }
  });
}

}  // namespace gan_ref
