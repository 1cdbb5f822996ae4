// A float matrix as rows that lie whole in memory.
//
// Owns reading arrays of any layout. MLX hands a primitive views as they are; most are rows already and cost nothing.
#pragma once

#include <vector>

#include "mlx/array.h"

namespace mlx_ops {

// What a primitive's task needs of an input. The array's memory is kept alive by MLX until the task is done.
class RowsOf {
 public:
  explicit RowsOf(const mlx::core::array& x)
      : data_(x.data<float>()), dense_(x.flags().row_contiguous), size_(x.size()) {
    if (!dense_) {
      shape_.assign(x.shape().begin(), x.shape().end());
      strides_.assign(x.strides().begin(), x.strides().end());
    }
  }

  // The first row; the others follow without gaps. Valid while `copy` is. Call it in the task: before that the data is
  // not computed.
  const float* dense(std::vector<float>& copy) const {
    if (dense_) {
      return data_;
    }
    copy.reserve(size_);
    gather(copy, data_, 0);
    return copy.data();
  }

 private:
  void gather(std::vector<float>& copy, const float* from, size_t axis) const {
    if (axis == shape_.size()) {
      copy.push_back(*from);
      return;
    }
    for (int i = 0; i < shape_[axis]; i++) {
      gather(copy, from + i * strides_[axis], axis + 1);
    }
  }

  const float* data_;
  bool dense_;
  size_t size_;
  std::vector<int> shape_;
  std::vector<int64_t> strides_;
};

} // namespace mlx_ops
