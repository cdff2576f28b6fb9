// virtual_batch_norm N C H_W TYPE LAYOUT SLOPE SHIFT ...: the fast kernels, as launched on a GPU, and for
// contiguous float32 the plain ones, against the definition in float64. LAYOUT is contiguous or channels_last;
// SHIFT elements make the memory unaligned. Prints a line for each case; the exit status is 1 if one differs.
#include "cuda_on_cpu.h"

#include "check.h"
#include "virtual_batch_norm.cuh"
#include "virtual_batch_norm_plain.cuh"

using namespace check;

namespace {

constexpr int kReferenceSize = 6;
constexpr double kEps = 1e-5, kA = 1.0 / (kReferenceSize + 1);

struct Inputs {
  int N, C, plane;
  Type type;
  bool channels_last;
  double slope;
  int shift;
  Buffer x = buffer(), grad = buffer();
  std::vector<float> vectors[4] = {};  // reference mean and variance, weight, bias

  Buffer buffer() const { return Buffer(type, int64_t(N) * C * plane, shift); }

  int64_t at(int n, int c, int p) const {
    return channels_last ? (int64_t(n) * plane + p) * C + c : (int64_t(n) * C + c) * plane + p;
  }

  // A mean of 30 deviations would ruin a variance taken as E[x^2] - E[x]^2 in float32.
  void fill() {
    const double mean = type == Type::float32 ? 30 : 1;
    for (int64_t e = 0; e < int64_t(N) * C * plane; ++e) {
      x.set(e, mean + normal());
      grad.set(e, normal());
    }
    for (int c = 0; c < C; ++c) {
      vectors[0].push_back(float(mean + 0.5 * normal()));
      vectors[1].push_back(float(std::exp(0.3 * normal())));
      vectors[2].push_back(float(normal()));
      vectors[3].push_back(float(normal()));
    }
  }
};

struct Outputs {
  Buffer y, grad_x;
  std::vector<float> mean, var;  // (N, C); the plain kernels do not write them
  std::vector<float> grads[4];   // of the four vectors
};

Outputs run_fast(Inputs& in) {
  const int64_t examples_channels = int64_t(in.N) * in.C;
  const std::vector<float> unwritten(examples_channels, NAN), channel(in.C, NAN);
  Outputs out{in.buffer(), in.buffer(), unwritten, unwritten, {channel, channel, channel, channel}};
  std::vector<float> sums(2 * examples_channels, NAN);
  const gan_ref::Reference reference{in.vectors[0].data(), in.vectors[1].data(), in.vectors[2].data(),
                                     in.vectors[3].data()};
  const gan_ref::Settings settings{float(kA), float(kEps), float(in.slope)};
  const bool aligned = reinterpret_cast<uintptr_t>(in.x.data()) % 16 == 0;
  const gan_ref::NormShape shape{in.N, in.C, in.plane, in.channels_last, aligned};

  const cuda_on_cpu::Launch launch;
  gan_ref::launch_norm_forward(launch, in.type, shape, in.x.data(), reference, settings, out.y.data(),
                               out.mean.data(), out.var.data());
  gan_ref::launch_norm_backward(
      launch, in.type, shape, in.grad.data(), in.x.data(), reference, out.mean.data(), out.var.data(), settings,
      out.grad_x.data(), sums.data(),
      {out.grads[0].data(), out.grads[1].data(), out.grads[2].data(), out.grads[3].data()});
  return out;
}

Outputs run_plain(Inputs& in) {
  Outputs out{in.buffer(), in.buffer(), {}, {}, {}};
  constexpr int kThreads = 64;
  const int64_t planes = int64_t(in.N) * in.C, blocks = gan_ref::ceil_div(planes, kThreads);
  const float *rm = in.vectors[0].data(), *rv = in.vectors[1].data();
  const float *w = in.vectors[2].data(), *b = in.vectors[3].data();
  std::vector<float> shares[4];
  for (auto& each : shares) each.assign(planes, NAN);

  const cuda_on_cpu::Launch launch;
  launch(gan_ref::plain_norm_forward, blocks, kThreads, in.x.floats(), rm, rv, w, b, in.N, in.C, in.plane,
         float(kA), float(kEps), float(in.slope), out.y.floats());
  launch(gan_ref::plain_norm_backward, blocks, kThreads, in.grad.floats(), in.x.floats(), rm, rv, w, b, in.N,
         in.C, in.plane, float(kA), float(kEps), float(in.slope), out.grad_x.floats(), shares[0].data(),
         shares[1].data(), shares[2].data(), shares[3].data());
  for (int k = 0; k < 4; ++k) {
    for (int c = 0; c < in.C; ++c) {
      double sum = 0;
      for (int n = 0; n < in.N; ++n) sum += shares[k][n * in.C + c];
      out.grads[k].push_back(float(sum));
    }
  }
  return out;
}

struct Errors {
  Worst y, statistics, grad_x, channels;
  bool fine() const {
    return y.value <= 1 && statistics.value <= 1 && grad_x.value <= 1 && channels.value <= 1;
  }
  void print(const char* name) const {
    std::printf("%s y %.3f statistics %.3f grad_x %.3f channels %.3f ", name, y.value, statistics.value,
                grad_x.value, channels.value);
  }
};

// A channel's numbers for one example, in float64.
struct Exact {
  double m, v, mean, rstd, first = 0, second = 0, magnitude = 0;
};

// `slack` times the usual loss is allowed.
Errors compare(Inputs& in, Outputs& out, double slack) {
  Errors errors;
  for (int c = 0; c < in.C; ++c) {
    const double rm = in.vectors[0][c], rv = in.vectors[1][c];
    const double weight = in.vectors[2][c], bias = in.vectors[3][c];
    double want[4] = {}, magnitude[4] = {};
    for (int n = 0; n < in.N; ++n) {
      Exact exact{};
      for (int p = 0; p < in.plane; ++p) exact.m += in.x.at(in.at(n, c, p)) / in.plane;
      for (int p = 0; p < in.plane; ++p) exact.v += std::pow(in.x.at(in.at(n, c, p)) - exact.m, 2) / in.plane;
      // The paper's form: E[x^2] of the example and its reference batch together, less the squared mean.
      exact.mean = kA * exact.m + (1 - kA) * rm;
      const double squares = kA * (exact.v + exact.m * exact.m) + (1 - kA) * (rv + rm * rm);
      exact.rstd = 1 / std::sqrt(squares - exact.mean * exact.mean + kEps);
      if (!out.mean.empty()) {
        const int64_t nc = int64_t(n) * in.C + c;
        errors.statistics.compare(out.mean[nc], exact.m, std::fabs(exact.m), Type::float32);
        errors.statistics.compare(out.var[nc], exact.v, exact.v + 1e-3, Type::float32);
      }

      std::vector<double> g(in.plane);
      for (int p = 0; p < in.plane; ++p) {
        const int64_t e = in.at(n, c, p);
        const double d = in.x.at(e) - exact.mean, before = d * exact.rstd * weight + bias;
        errors.y.compare(out.y.at(e), before > 0 ? before : before * in.slope,
                         slack * (1 + std::fabs(before)), in.type);
        g[p] = in.grad.at(e) * (before > 0 ? 1 : in.slope);
        // So near to 0 either side is right. The sign of y tells which was taken: its value may round to 0.
        if (std::fabs(before) < 1e-4) g[p] = in.grad.at(e) * (std::signbit(out.y.at(e)) ? in.slope : 1);
        exact.first += g[p];
        exact.second += g[p] * d;
        exact.magnitude += std::fabs(g[p]) * (1 + std::fabs(d));
      }
      const double grad_mean = -weight * exact.rstd * exact.first;
      const double grad_var = -0.5 * weight * std::pow(exact.rstd, 3) * exact.second;
      for (int p = 0; p < in.plane; ++p) {
        const double d = in.x.at(in.at(n, c, p)) - exact.mean;
        const double value = weight * exact.rstd * g[p] + kA / in.plane * (grad_mean + 2 * grad_var * d);
        errors.grad_x.compare(out.grad_x.at(in.at(n, c, p)), value,
                              slack * (1 + std::fabs(weight) * (1 + exact.rstd)), in.type);
      }
      const double parts[4] = {(1 - kA) * (grad_mean + 2 * grad_var * (rm - exact.mean)), (1 - kA) * grad_var,
                               exact.rstd * exact.second, exact.first};
      for (int k = 0; k < 4; ++k) {
        want[k] += parts[k];
        magnitude[k] += exact.magnitude * (1 + std::fabs(weight)) * (1 + std::pow(exact.rstd, 3));
      }
    }
    for (int k = 0; k < 4; ++k) {
      errors.channels.compare(out.grads[k][c], want[k], slack * magnitude[k], Type::float32);
    }
  }
  return errors;
}

}  // namespace

int main(int argc, char** argv) {
  bool good = argc > 1 && (argc - 1) % 7 == 0;
  for (int a = 1; a + 6 < argc; a += 7) {
    Inputs in{std::atoi(argv[a]), std::atoi(argv[a + 1]), std::atoi(argv[a + 2]), type_named(argv[a + 3]),
              std::string(argv[a + 4]) == "channels_last", std::atof(argv[a + 5]), std::atoi(argv[a + 6])};
    in.fill();
    Outputs out = run_fast(in);
    const Errors fast = compare(in, out, 1);
    Errors plain;
    if (in.type == Type::float32 && !in.channels_last && in.N > 0) {
      Outputs plain_out = run_plain(in);
      plain = compare(in, plain_out, 4);  // it adds up a plane one number after another
    }
    for (int k = 0; k < 7; ++k) std::printf("%s ", argv[a + k]);
    fast.print("fast");
    plain.print("plain");
    const bool fine = fast.fine() && plain.fine();
    std::printf("bits %llx %s\n", static_cast<unsigned long long>(out.grad_x.bits(out.y.bits())),
                fine ? "ok" : "WRONG");
    std::fflush(stdout);
    good = good && fine;
  }
  return good ? 0 : 1;
}
