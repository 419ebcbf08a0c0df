// vindex bins_topk type=f32 terms=1 q=64 n=131072 d=128 k=10 bins=256 recall=1.000000000e+00 override=-1
module @vindex_bins_topk {
  func.func public @main(%q: tensor<64x128xf32>, %db: tensor<131072x128xf32>, %bias: tensor<131072xf32>)
      -> (tensor<64x10xf32>, tensor<64x10xi32>) {
    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST]
         : (tensor<64x128xf32>, tensor<131072x128xf32>) -> tensor<64x131072xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<131072xf32>) -> tensor<64x131072xf32>
    %t = stablehlo.add %s, %b : tensor<64x131072xf32>
    %t3 = stablehlo.reshape %t : (tensor<64x131072xf32>) -> tensor<64x512x256xf32>
    %w3 = stablehlo.iota dim = 1 : tensor<64x512x256xi32>
    %v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %x0 = stablehlo.constant dense<2147483647> : tensor<i32>
    %m:2 = stablehlo.reduce(%t3 init: %v0), (%w3 init: %x0) across dimensions = [1]
         : (tensor<64x512x256xf32>, tensor<64x512x256xi32>, tensor<f32>, tensor<i32>)
         -> (tensor<64x256xf32>, tensor<64x256xi32>)
      reducer(%a: tensor<f32>, %c: tensor<f32>) (%i: tensor<i32>, %j: tensor<i32>) {
        %gt = stablehlo.compare GT, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %eq = stablehlo.compare EQ, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %lt = stablehlo.compare LT, %i, %j, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
        %e2 = stablehlo.and %eq, %lt : tensor<i1>
        %p = stablehlo.or %gt, %e2 : tensor<i1>
        %rv = stablehlo.select %p, %a, %c : tensor<i1>, tensor<f32>
        %rx = stablehlo.select %p, %i, %j : tensor<i1>, tensor<i32>
        stablehlo.return %rv, %rx : tensor<f32>, tensor<i32>
      }
    %lc = stablehlo.constant dense<256> : tensor<64x256xi32>
    %wl = stablehlo.multiply %m#1, %lc : tensor<64x256xi32>
    %ln = stablehlo.iota dim = 1 : tensor<64x256xi32>
    %row = stablehlo.add %wl, %ln : tensor<64x256xi32>
    %z:2 = chlo.top_k(%m#0, k = 10) : tensor<64x256xf32> -> (tensor<64x10xf32>, tensor<64x10xi32>)
    %g = stablehlo.reshape %z#1 : (tensor<64x10xi32>) -> tensor<64x10x1xi32>
    %ox = "stablehlo.gather"(%row, %g) <{dimension_numbers = #stablehlo.gather<collapsed_slice_dims = [1],
          operand_batching_dims = [0], start_indices_batching_dims = [0], start_index_map = [1], index_vector_dim = 2>,
          indices_are_sorted = false, slice_sizes = array<i64: 1, 1>}>
         : (tensor<64x256xi32>, tensor<64x10x1xi32>) -> tensor<64x10xi32>
    return %z#0, %ox : tensor<64x10xf32>, tensor<64x10xi32>
  }
}
