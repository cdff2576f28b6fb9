// Between torch and the kernels: streams, scratch memory, types and checks, through torch's stable ABI only,
// so that one binary serves every torch from 2.10 on.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <limits>

#include "common.cuh"

// Weak, because a CPU build of torch does not have it: the library must still load there, for its schemas.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index,
                                                                                    void** stream);

namespace gan_ref {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Makes the tensor's device current while it lives, and holds that device's current stream.
class Device {
 public:
  explicit Device(const Tensor& tensor) : guard_(tensor.get_device_index()) {
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr,
                    "gan_ref: this build of torch has no CUDA");
    void* stream = nullptr;
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream) == AOTI_TORCH_SUCCESS,
                    "gan_ref: torch gives no current CUDA stream");
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, Arguments... arguments) const {
    STD_TORCH_CHECK(blocks <= std::numeric_limits<int>::max(), "gan_ref: the input is too large");
    kernel<<<static_cast<unsigned>(blocks), threads, 0, stream_>>>(arguments...);
    const cudaError_t error = cudaGetLastError();
    STD_TORCH_CHECK(error == cudaSuccess, "gan_ref: a kernel did not start: ", cudaGetErrorString(error));
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

inline Type type_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Type::float32;
    case ScalarType::Half: return Type::float16;
    case ScalarType::BFloat16: return Type::bfloat16;
    default: STD_TORCH_CHECK(false, "gan_ref: ", name, " must be float32, float16 or bfloat16");
  }
  return Type::float32;
}

inline int int_size(const Tensor& tensor, int64_t dimension, const char* name) {
  const int64_t size = tensor.size(dimension);
  STD_TORCH_CHECK(size <= std::numeric_limits<int>::max(), "gan_ref: ", name, " is too large");
  return static_cast<int>(size);
}

// What would make a kernel read or write outside a tensor. Everything else was checked in Python.
inline void check_same_device(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == like.get_device_index(), "gan_ref: ", name,
                  " must be on the same CUDA device as the input");
}

inline Tensor float_tensor(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(sizes.begin(), sizes.size()),
                                  ScalarType::Float);
}

}  // namespace gan_ref
