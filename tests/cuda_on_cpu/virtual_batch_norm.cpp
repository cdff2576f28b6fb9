// virtual_batch_norm N C H_W TYPE LAYOUT SLOPE SHIFT ...: both kernels, as launched on a GPU, against the
// definition in float64. LAYOUT is contiguous or channels_last; SHIFT elements make the memory unaligned.
// Prints a line a case; exit status 1 if one differs.
#include "cuda_on_cpu.h"

#include "check.h"
#include "virtual_batch_norm.cuh"

using namespace check;

namespace {

constexpr int kReferenceSize = 6;
constexpr double kEps = 1e-5, kA = 1.0 / (kReferenceSize + 1);

struct Errors {
  Worst y, statistics, grad_x, channels;
  uint64_t bits = 0;
  bool fine() const { return y.value <= 1 && statistics.value <= 1 && grad_x.value <= 1 &&
                     channels.value <= 1; }
};

// A channel's numbers for one example, in float64.
struct Exact {
  double m, v, mean, rstd, first = 0, second = 0, magnitude = 0;
};

Errors run(int N, int C, int plane, Type type, bool channels_last, double slope, int shift) {
  const int64_t count = int64_t(N) * C * plane;
  const auto at = [&](int n, int c, int p) {
    return channels_last ? (int64_t(n) * plane + p) * C + c : (int64_t(n) * C + c) * plane + p;
  };
  Buffer x(type, count, shift), grad(type, count, shift), y(type, count, shift), grad_x(type, count, shift);
  // A mean of 30 deviations would ruin a variance taken as E[x^2] - E[x]^2 in float32.
  for (int64_t e = 0; e < count; ++e) {
    x.set(e, (type == Type::float32 ? 30 : 1) + normal());
    grad.set(e, normal());
  }
  std::vector<float> vectors[4];  // reference mean and variance, weight, bias
  for (int c = 0; c < C; ++c) {
    vectors[0].push_back(float((type == Type::float32 ? 30 : 1) + 0.5 * normal()));
    vectors[1].push_back(float(std::exp(0.3 * normal())));
    vectors[2].push_back(float(normal()));
    vectors[3].push_back(float(normal()));
  }
  const gan_ref::Reference reference{vectors[0].data(), vectors[1].data(), vectors[2].data(),
                                     vectors[3].data()};
  const gan_ref::Settings settings{float(kA), float(kEps), float(slope)};
  const gan_ref::NormShape shape{N, C, plane, channels_last, reinterpret_cast<uintptr_t>(x.data()) % 16 == 0};
  std::vector<float> mean(int64_t(N) * C, NAN), var = mean, sums(2 * int64_t(N) * C, NAN);
  std::vector<float> grads[4];
  for (auto& each : grads) each.assign(C, NAN);

  const cuda_on_cpu::Launch launch;
  gan_ref::launch_norm_forward(launch, type, shape, x.data(), reference, settings, y.data(), mean.data(),
                               var.data());
  gan_ref::launch_norm_backward(launch, type, shape, grad.data(), x.data(), reference, mean.data(),
                                var.data(),
                                settings, grad_x.data(), sums.data(),
                                {grads[0].data(), grads[1].data(), grads[2].data(), grads[3].data()});

  Errors errors;
  errors.bits = grad_x.bits(y.bits());
  for (int c = 0; c < C; ++c) {
    const double rm = vectors[0][c], rv = vectors[1][c], weight = vectors[2][c], bias = vectors[3][c];
    double want[4] = {}, magnitude[4] = {};
    for (int n = 0; n < N; ++n) {
      Exact exact{};
      for (int p = 0; p < plane; ++p) exact.m += x.at(at(n, c, p)) / plane;
      for (int p = 0; p < plane; ++p) exact.v += std::pow(x.at(at(n, c, p)) - exact.m, 2) / plane;
      // The paper's form: E[x^2] of the example and its reference batch together, less the squared mean.
      exact.mean = kA * exact.m + (1 - kA) * rm;
      const double squares = kA * (exact.v + exact.m * exact.m) + (1 - kA) * (rv + rm * rm);
      exact.rstd = 1 / std::sqrt(squares - exact.mean * exact.mean + kEps);
      errors.statistics.compare(mean[int64_t(n) * C + c], exact.m, std::fabs(exact.m), Type::float32);
      errors.statistics.compare(var[int64_t(n) * C + c], exact.v, exact.v + 1e-3, Type::float32);

      std::vector<double> g(plane);
      for (int p = 0; p < plane; ++p) {
        const double d = x.at(at(n, c, p)) - exact.mean, before = d * exact.rstd * weight + bias;
        errors.y.compare(y.at(at(n, c, p)), before > 0 ? before : before * slope, 1 + std::fabs(before),
                         type);
        g[p] = grad.at(at(n, c, p)) * (before > 0 ? 1 : slope);
        // So near to 0 either side is right. The sign of y tells which was taken: its value may round to 0.
        const bool negative = std::signbit(y.at(at(n, c, p)));
        if (std::fabs(before) < 1e-4) g[p] = grad.at(at(n, c, p)) * (negative ? slope : 1);
        exact.first += g[p];
        exact.second += g[p] * d;
        exact.magnitude += std::fabs(g[p]) * (1 + std::fabs(d));
      }
      const double grad_mean = -weight * exact.rstd * exact.first;
      const double grad_var = -0.5 * weight * std::pow(exact.rstd, 3) * exact.second;
      for (int p = 0; p < plane; ++p) {
        const double d = x.at(at(n, c, p)) - exact.mean;
        const double value = weight * exact.rstd * g[p] + kA / plane * (grad_mean + 2 * grad_var * d);
        errors.grad_x.compare(grad_x.at(at(n, c, p)), value, 1 + std::fabs(weight) * (1 + exact.rstd), type);
      }
      const double parts[4] = {(1 - kA) * (grad_mean + 2 * grad_var * (rm - exact.mean)), (1 - kA) * grad_var,
                               exact.rstd * exact.second, exact.first};
      for (int k = 0; k < 4; ++k) {
        want[k] += parts[k];
        magnitude[k] += exact.magnitude * (1 + std::fabs(weight)) * (1 + std::pow(exact.rstd, 3));
      }
    }
    for (int k = 0; k < 4; ++k) errors.channels.compare(grads[k][c], want[k], magnitude[k], Type::float32);
  }
  return errors;
}

}  // namespace

int main(int argc, char** argv) {
  bool good = argc > 1 && (argc - 1) % 7 == 0;
  for (int a = 1; a + 6 < argc; a += 7) {
    const std::string layout = argv[a + 4];
    const Errors errors = run(std::atoi(argv[a]), std::atoi(argv[a + 1]), std::atoi(argv[a + 2]),
                              type_named(argv[a + 3]), layout == "channels_last", std::atof(argv[a + 5]),
                              std::atoi(argv[a + 6]));
    for (int k = 0; k < 7; ++k) std::printf("%s ", argv[a + k]);
    std::printf("y %.3f statistics %.3f grad_x %.3f channels %.3f bits %llx %s\n", errors.y.value,
                errors.statistics.value, errors.grad_x.value, errors.channels.value,
                static_cast<unsigned long long>(errors.bits), errors.fine() ? "ok" : "WRONG");
    std::fflush(stdout);
    good = good && errors.fine();
  }
  return good ? 0 : 1;
}
