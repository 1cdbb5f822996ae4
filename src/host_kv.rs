//! KV as bytes in host memory, in blocks of whole positions: what an executor copies from the device and back, and what the
//! files of `prefix_store` hold. A block has one tensor after another, in the order of its layout.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The type of the numbers of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvElement {
    /// 32-bit floating point.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit floating-point number.
    Bf16,
    /// Whole numbers, of the simulated device.
    U32,
}

impl KvElement {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvTensor {
    /// Its name. The names of a layout are in alphabetical order.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// What the blocks of a model consist of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvLayout {
    /// How the numbers of a tensor are arranged. Blocks of different arrangements cannot be exchanged.
    pub arrangement: &'static str,
    /// The type of the numbers.
    pub element: KvElement,
    /// Positions of a block.
    pub block: usize,
    /// The tensors, in their order.
    pub tensors: Vec<KvTensor>,
}

impl KvLayout {
    /// Keys and values of each layer; `shapes` are those of the layers' keys and values.
    pub fn of_layers(
        arrangement: &'static str,
        element: KvElement,
        block: usize,
        shapes: impl Iterator<Item = [Vec<usize>; 2]>,
    ) -> Self {
        let names = |layer| ["keys", "values"].map(|kind| format!("layers.{layer:05}.{kind}"));
        let layers = shapes.enumerate().map(|(layer, shapes)| names(layer).into_iter().zip(shapes));
        let tensors = layers.flatten().map(|(name, shape)| KvTensor { name, shape }).collect();
        Self { arrangement, element, block, tensors }
    }

    /// Bytes of a tensor.
    fn tensor_bytes(&self, tensor: &KvTensor) -> usize {
        tensor.shape.iter().product::<usize>() * self.element.size()
    }

    /// The bytes of each tensor in a block, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (&KvTensor, Range<usize>)> {
        self.tensors.iter().scan(0, |end, tensor| {
            let start = *end;
            *end += self.tensor_bytes(tensor);
            Some((tensor, start..*end))
        })
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.tensors.iter().map(|tensor| self.tensor_bytes(tensor)).sum()
    }
}

/// The KV of consecutive positions in all layers. Numbers are little-endian.
#[derive(Clone, PartialEq, Eq)]
pub struct KvBlock(pub Vec<u8>);

/// Prints only the size, because KV reveals the prompt.
impl fmt::Debug for KvBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvBlock({} bytes)", self.0.len())
    }
}

/// The KV of the first positions of a sequence, block after block.
pub type HostKv = Arc<Vec<KvBlock>>;
