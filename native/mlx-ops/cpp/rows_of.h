// A float matrix with contiguous rows.
//
// This file reads arrays of any layout. MLX passes views to a primitive unchanged; most have contiguous rows already and are
// not copied.
#pragma once

#include <vector>

#include "mlx/array.h"

namespace mlx_ops {

// An input for the task of a primitive. MLX keeps the memory of the array alive until the task is done.
class RowsOf {
 public:
  explicit RowsOf(const mlx::core::array& x)
      : data_(x.data<float>()), dense_(x.flags().row_contiguous), size_(x.size()) {
    if (!dense_) {
      shape_.assign(x.shape().begin(), x.shape().end());
      strides_.assign(x.strides().begin(), x.strides().end());
    }
  }

  // The first row; the others follow without gaps. Valid as long as `copy`. Call it in the task, because the data is not
  // computed before.
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
