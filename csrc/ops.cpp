// The kernels as operators of their own namespace. gan_ref/ops defines gan_ref::* with the same schemas in
// Python, for every device, and calls gan_ref_kernels::* on a GPU once this library is loaded, which may be
// long after: two definitions of one name would end the process.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(gan_ref_kernels, m) {
  m.def("minibatch_l1_similarity(Tensor features) -> Tensor");
  m.def("minibatch_l1_similarity_backward(Tensor grad, Tensor features) -> Tensor");
  m.def(
      "virtual_batch_norm(Tensor x, Tensor reference_mean, Tensor reference_var, Tensor weight, Tensor bias, "
      "int reference_size, float eps, float negative_slope) -> (Tensor y, Tensor mean, Tensor var)");
  m.def(
      "virtual_batch_norm_backward(Tensor grad, Tensor x, Tensor reference_mean, Tensor reference_var, "
      "Tensor weight, Tensor bias, Tensor mean, Tensor var, int reference_size, float eps, "
      "float negative_slope) -> (Tensor grad_x, Tensor grad_reference_mean, Tensor grad_reference_var, "
      "Tensor grad_weight, "
      "Tensor grad_bias)");
}
