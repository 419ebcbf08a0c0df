// vindex topk type=f32 terms=1 q=8 n=4096 d=300 k=32 bins=1 recall=1.000000000e+00 override=-1
module @vindex_topk {
  func.func public @main(%q: tensor<8x300xf32>, %db: tensor<4096x300xf32>, %bias: tensor<4096xf32>)
      -> (tensor<8x32xf32>, tensor<8x32xi32>) {
    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST]
         : (tensor<8x300xf32>, tensor<4096x300xf32>) -> tensor<8x4096xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<4096xf32>) -> tensor<8x4096xf32>
    %t = stablehlo.add %s, %b : tensor<8x4096xf32>
    %z:2 = chlo.top_k(%t, k = 32) : tensor<8x4096xf32> -> (tensor<8x32xf32>, tensor<8x32xi32>)
    return %z#0, %z#1 : tensor<8x32xf32>, tensor<8x32xi32>
  }
}
