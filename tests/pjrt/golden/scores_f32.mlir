// vindex scores type=f32 terms=1 q=8 n=128 d=20 k=1 bins=1 recall=1.000000000e+00 override=-1
module @vindex_scores {
  func.func public @main(%q: tensor<8x20xf32>, %db: tensor<128x20xf32>, %bias: tensor<128xf32>)
      -> tensor<8x128xf32> {
    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST]
         : (tensor<8x20xf32>, tensor<128x20xf32>) -> tensor<8x128xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<128xf32>) -> tensor<8x128xf32>
    %t = stablehlo.add %s, %b : tensor<8x128xf32>
    return %t : tensor<8x128xf32>
  }
}
