// minibatch_l1_similarity on a GPU: checks, memory, launches. The kernels are in similarity.cuh.
#include "launch.h"
#include "similarity.cuh"

namespace gan_ref {

namespace {

void check_features(const Tensor& features) {
  STD_TORCH_CHECK(features.is_cuda() && features.dim() == 3 && features.is_contiguous(),
                  "gan_ref: features must be a contiguous CUDA tensor of shape (N, B, C)");
  STD_TORCH_CHECK(features.size(2) <= kMaxChannels, "gan_ref: features must have at most ", kMaxChannels,
                  " channels");
}

}  // namespace

Tensor minibatch_l1_similarity(Tensor features) {
  check_features(features);
  const Type type = type_of(features, "features");
  const int N = int_size(features, 0, "N"), B = int_size(features, 1, "B"), C = int_size(features, 2, "C");
  const Device device(features);
  Tensor out = torch::stable::new_empty(features, {N, B});
  Tensor held;
  const auto scratch = [&](int64_t count) {
    held = float_tensor(features, {count});
    return static_cast<float*>(held.mutable_data_ptr());
  };
  launch_similarity_forward(device, scratch, features.const_data_ptr(), type, N, B, C,
                            out.mutable_data_ptr());
  return out;
}

Tensor minibatch_l1_similarity_backward(Tensor grad, Tensor features) {
  check_features(features);
  check_same_device(grad, features, "grad");
  const Type type = type_of(features, "features"), grad_type = type_of(grad, "grad");
  const int N = int_size(features, 0, "N"), B = int_size(features, 1, "B"), C = int_size(features, 2, "C");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == N && grad.size(1) == B && grad.is_contiguous(),
                  "gan_ref: grad must be contiguous and of shape (N, B)");
  const Device device(features);
  Tensor grad_features = torch::stable::new_empty(features, {N, B, C});
  Tensor held;
  const auto scratch = [&](int64_t count) {
    held = float_tensor(features, {count});
    return static_cast<float*>(held.mutable_data_ptr());
  };
  launch_similarity_backward(device, scratch, grad.const_data_ptr(), grad_type, features.const_data_ptr(),
                             type, N, B,
                             C, grad_features.mutable_data_ptr());
  return grad_features;
}

STABLE_TORCH_LIBRARY_IMPL(gan_ref_kernels, CUDA, m) {
  m.impl("minibatch_l1_similarity", TORCH_BOX(&minibatch_l1_similarity));
  m.impl("minibatch_l1_similarity_backward", TORCH_BOX(&minibatch_l1_similarity_backward));
}

}  // namespace gan_ref
