// similarity N B C TYPE GRAD_TYPE [N B C TYPE GRAD_TYPE ...]: the fast kernels, as launched on a GPU, and where
// both types are float32 the plain ones, against the definition in float64. Prints a line for each case; the
// exit status is 1 if one differs.
#include "cuda_on_cpu.h"

#include "check.h"
#include "similarity.cuh"
#include "similarity_plain.cuh"

using namespace check;

namespace {

// A twentieth of the features repeats another sample's, so that ties are met.
void fill(Buffer& features, int N, int B, int C) {
  for (int64_t e = 0; e < int64_t(N) * B * C; ++e) {
    const bool tie = e >= B * C && generator() % 20 == 0;
    features.set(e, tie ? features.at(e % (B * C)) : 0.7 * normal());
  }
}

// Half a unit in the last place of 1. A float32 sum of C numbers is off by about √C of these times the sum,
// and e⁻ᵈ by the share by which d is off.
const double kHalfUnit = std::ldexp(1.0, -24);

struct Errors {
  Worst forward, backward, plain;
  uint64_t bits = 0;
};

Errors run(int N, int B, int C, Type type, Type grad_type) {
  const int64_t elements = int64_t(N) * B;
  Buffer features(type, elements * C), grad(grad_type, elements);
  fill(features, N, B, C);
  for (int64_t e = 0; e < elements; ++e) grad.set(e, normal());

  std::vector<float> held;
  const auto scratch = [&](int64_t count) {
    held.assign(count, NAN);
    return held.data();
  };
  const cuda_on_cpu::Launch launch;
  Buffer out(type, elements), grad_features(type, elements * C);
  gan_ref::launch_similarity_forward(launch, scratch, features.data(), type, N, B, C, out.data());
  gan_ref::launch_similarity_backward(launch, scratch, grad.data(), grad_type, features.data(), type, N, B, C,
                                      grad_features.data());

  Buffer plain_out(Type::float32, elements), plain_grad(Type::float32, elements * C);
  const bool plain = type == Type::float32 && grad_type == Type::float32 && elements > 0;
  if (plain) {
    constexpr int kThreads = 64;
    const int64_t blocks = gan_ref::ceil_div(elements, kThreads);
    launch(gan_ref::plain_similarity_forward, blocks, kThreads, features.floats(), N, B, C,
           plain_out.floats());
    launch(gan_ref::plain_similarity_backward, blocks, kThreads, grad.floats(), features.floats(), N, B, C,
           plain_grad.floats());
  }

  Errors errors;
  errors.bits = grad_features.bits(out.bits());
  const auto g = [&](int i, int b) { return grad.at(int64_t(i) * B + b); };
  const auto f = [&](int i, int b, int c) { return features.at((int64_t(i) * B + b) * C + c); };
  for (int i = 0; i < N; ++i) {
    for (int b = 0; b < B; ++b) {
      double sum = 0, scale = 0, weight = 0;
      std::vector<double> want(C, 0.0);
      for (int j = 0; j < N; ++j) {
        if (j == i) continue;
        double distance = 0;
        for (int c = 0; c < C; ++c) distance += std::fabs(f(i, b, c) - f(j, b, c));
        const double K = std::exp(-distance), w = (g(i, b) + g(j, b)) * K;
        const double lost = 1 + std::sqrt(C) * distance * kHalfUnit / kLost;
        sum += K;
        scale += K * lost;
        weight += std::fabs(w) * lost;
        for (int c = 0; c < C; ++c) {
          const double t = f(i, b, c) - f(j, b, c);
          want[c] -= w * ((t > 0) - (t < 0));
        }
      }
      const int64_t e = int64_t(i) * B + b;
      errors.forward.compare(out.at(e), sum, scale, type);
      if (plain) errors.plain.compare(plain_out.at(e), sum, scale, type);
      for (int c = 0; c < C; ++c) {
        errors.backward.compare(grad_features.at(e * C + c), want[c], weight, type);
        if (plain) errors.plain.compare(plain_grad.at(e * C + c), want[c], weight, type);
      }
    }
  }
  return errors;
}

}  // namespace

int main(int argc, char** argv) {
  bool good = argc > 1 && (argc - 1) % 5 == 0;
  for (int a = 1; a + 4 < argc; a += 5) {
    const Errors errors = run(std::atoi(argv[a]), std::atoi(argv[a + 1]), std::atoi(argv[a + 2]),
                              type_named(argv[a + 3]), type_named(argv[a + 4]));
    const bool fine = errors.forward.value <= 1 && errors.backward.value <= 1 && errors.plain.value <= 1;
    std::printf("%s %s %s %s %s: forward %.3f backward %.3f plain %.3f bits %llx %s\n", argv[a], argv[a + 1],
                argv[a + 2], argv[a + 3], argv[a + 4], errors.forward.value, errors.backward.value,
                errors.plain.value, static_cast<unsigned long long>(errors.bits), fine ? "ok" : "WRONG");
    std::fflush(stdout);
    good = good && fine;
  }
  return good ? 0 : 1;
}
