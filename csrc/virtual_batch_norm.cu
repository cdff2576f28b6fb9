// virtual_batch_norm on a GPU: checks, memory, launches. The kernels are in virtual_batch_norm.cuh.
#include "virtual_batch_norm.cuh"

#include <tuple>

#include "launch.h"

namespace gan_ref {

namespace {

const float* vector(Tensor& tensor, const Tensor& x, const char* name) {
  check_same_device(tensor, x, name);
  STD_TORCH_CHECK(tensor.dim() == 1 && tensor.size(0) == x.size(1) &&
                  tensor.scalar_type() == ScalarType::Float,
                  "gan_ref: ", name, " must be float32 and of shape (C,)");
  tensor = torch::stable::contiguous(tensor);
  return static_cast<const float*>(tensor.const_data_ptr());
}

// The arguments are the operator's own handles, and keep alive what the pointers point at.
Reference reference_of(const Tensor& x, Tensor& mean, Tensor& var, Tensor& weight, Tensor& bias) {
  return {vector(mean, x, "reference_mean"), vector(var, x, "reference_var"), vector(weight, x, "weight"),
          vector(bias, x, "bias")};
}

Settings settings_of(int64_t reference_size, double eps, double negative_slope) {
  return {static_cast<float>(1.0 / (static_cast<double>(reference_size) + 1.0)), static_cast<float>(eps),
          static_cast<float>(negative_slope)};
}

// A dimension of size 1 may have any stride.
bool is_channels_last(const Tensor& x) {
  const int64_t C = x.size(1), H = x.size(2), W = x.size(3);
  const auto has = [&](int64_t dimension, int64_t stride) {
    return x.size(dimension) == 1 || x.stride(dimension) == stride;
  };
  return has(1, 1) && has(3, C) && has(2, W * C) && has(0, H * W * C);
}

NormShape shape_of(const Tensor& x) {
  STD_TORCH_CHECK(x.is_cuda() && x.dim() == 4, "gan_ref: x must be a CUDA tensor of shape (N, C, H, W)");
  const bool contiguous = x.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(x), "gan_ref: x must be contiguous or channels-last");
  const int64_t plane = x.size(2) * x.size(3);
  STD_TORCH_CHECK(x.size(0) <= std::numeric_limits<int>::max() &&
                  x.size(1) * plane <= std::numeric_limits<int>::max(),
                  "gan_ref: N and C x H x W must be less than 2^31");
  return {x.size(0), int_size(x, 1, "C"), static_cast<int>(plane), !contiguous, true};
}

bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

}  // namespace

std::tuple<Tensor, Tensor, Tensor> virtual_batch_norm(
    Tensor x, Tensor reference_mean, Tensor reference_var, Tensor weight, Tensor bias, int64_t reference_size,
    double eps, double negative_slope) {
  NormShape shape = shape_of(x);
  const Type type = type_of(x, "x");
  const Reference reference = reference_of(x, reference_mean, reference_var, weight, bias);
  const Device device(x);
  Tensor y = torch::stable::empty_like(x);
  Tensor mean = float_tensor(x, {x.size(0), x.size(1)}), var = float_tensor(x, {x.size(0), x.size(1)});
  shape.aligned = is_aligned(x.const_data_ptr()) && is_aligned(y.const_data_ptr());
  launch_norm_forward(device, type, shape, x.const_data_ptr(), reference,
                      settings_of(reference_size, eps, negative_slope), y.mutable_data_ptr(),
                      static_cast<float*>(mean.mutable_data_ptr()),
                      static_cast<float*>(var.mutable_data_ptr()));
  return {y, mean, var};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> virtual_batch_norm_backward(
    Tensor grad, Tensor x, Tensor reference_mean, Tensor reference_var, Tensor weight, Tensor bias,
    Tensor mean, Tensor var, int64_t reference_size, double eps, double negative_slope) {
  NormShape shape = shape_of(x);
  const Type type = type_of(x, "x");
  const Reference reference = reference_of(x, reference_mean, reference_var, weight, bias);
  check_same_device(grad, x, "grad");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.scalar_type() == x.scalar_type(),
                  "gan_ref: grad must be of x's type");
  for (int64_t dimension = 0; dimension < 4; ++dimension) {
    STD_TORCH_CHECK(grad.size(dimension) == x.size(dimension), "gan_ref: grad must have the shape of x");
  }
  STD_TORCH_CHECK(shape.channels_last ? is_channels_last(grad) : grad.is_contiguous(),
                  "gan_ref: grad must have the layout of x");
  for (const Tensor* saved : {&mean, &var}) {
    check_same_device(*saved, x, "mean and var");
    STD_TORCH_CHECK(saved->dim() == 2 && saved->size(0) == x.size(0) && saved->size(1) == x.size(1) &&
                        saved->is_contiguous() && saved->scalar_type() == ScalarType::Float,
                    "gan_ref: mean and var must be contiguous, float32 and of shape (N, C)");
  }
  const Device device(x);
  Tensor grad_x = torch::stable::empty_like(x);
  Tensor sums = float_tensor(x, {2, x.size(0), x.size(1)});
  Tensor grad_mean = float_tensor(x, {x.size(1)}), grad_var = float_tensor(x, {x.size(1)});
  Tensor grad_weight = float_tensor(x, {x.size(1)}), grad_bias = float_tensor(x, {x.size(1)});
  const auto floats = [](Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); };
  shape.aligned = is_aligned(grad.const_data_ptr()) && is_aligned(x.const_data_ptr()) &&
                  is_aligned(grad_x.const_data_ptr());
  launch_norm_backward(device, type, shape, grad.const_data_ptr(), x.const_data_ptr(), reference,
                       static_cast<const float*>(mean.const_data_ptr()),
                       static_cast<const float*>(var.const_data_ptr()),
                       settings_of(reference_size, eps, negative_slope), grad_x.mutable_data_ptr(),
                       floats(sums), {floats(grad_mean), floats(grad_var), floats(grad_weight),
                                      floats(grad_bias)});
  return {grad_x, grad_mean, grad_var, grad_weight, grad_bias};
}

STABLE_TORCH_LIBRARY_IMPL(gan_ref_kernels, CUDA, m) {
  m.impl("virtual_batch_norm", TORCH_BOX(&virtual_batch_norm));
  m.impl("virtual_batch_norm_backward", TORCH_BOX(&virtual_batch_norm_backward));
}

}  // namespace gan_ref
