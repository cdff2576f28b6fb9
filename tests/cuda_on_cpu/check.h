// What the two drivers share: typed buffers of exact size, random numbers, and the comparison with float64.
#pragma once

#include <random>
#include <string>

#include "common.cuh"

namespace check {

using gan_ref::Type;

inline Type type_named(const std::string& name) {
  if (name == "float32") return Type::float32;
  if (name == "float16") return Type::float16;
  if (name == "bfloat16") return Type::bfloat16;
  std::fprintf(stderr, "unknown type %s\n", name.c_str());
  std::exit(2);
}

// A tensor's memory: exactly as long as it must be, so that one element too far is caught. `shift` elements
// of padding in front make it unaligned. Every type reads 0xff as NaN: what is not written shows.
class Buffer {
 public:
  Buffer(Type type, int64_t count, int shift = 0)
      : type_(type), shift_(shift), bytes_((count + shift) * (type == Type::float32 ? 4 : 2), 0xff) {}

  float* floats() { return static_cast<float*>(data()); }
  void* data() { return bytes_.data() + shift_ * (type_ == Type::float32 ? 4 : 2); }
  uint64_t bits(uint64_t hash = 14695981039346656037u) const {  // FNV-1a
    for (const unsigned char byte : bytes_) hash = (hash ^ byte) * 1099511628211u;
    return hash;
  }

  double at(int64_t index) { return gan_ref::load(data(), type_, index); }
  void set(int64_t index, double value) { gan_ref::store(data(), type_, index, float(value)); }

 private:
  Type type_;
  int shift_;
  std::vector<unsigned char> bytes_;
};

inline std::mt19937_64 generator(20160610);

inline double normal() { return std::normal_distribution<double>()(generator); }

// Half a unit in the last place of the result's type, on top of what float32 sums lose.
inline double rounding(Type type) {
  return type == Type::float32 ? 0 : type == Type::float16 ? 1.0 / 2048 : 1.0 / 256;
}

// What float32 sums may lose, as a share of what is summed.
constexpr double kLost = 1e-5;

// The largest |got - want| in units of what may be lost; NaN counts as infinitely wrong.
struct Worst {
  double value = 0;

  void compare(double got, double want, double scale, Type type) {
    const double smallest = type == Type::float16 ? 3e-8 : 1e-30;
    const double allowed = kLost * scale + rounding(type) * std::fabs(want) + smallest;
    const double error = std::fabs(got - want) / allowed;
    if (!(error <= value)) value = std::isnan(error) ? INFINITY : error;
  }
};

}  // namespace check
