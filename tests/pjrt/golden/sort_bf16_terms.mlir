// vindex sort type=bf16 terms=3 q=8 n=4096 d=300 k=32 bins=1 recall=1.000000000e+00 override=-1
module @vindex_sort {
  func.func public @main(%q: tensor<3x8x300xbf16>, %db: tensor<4096x300xbf16>, %bias: tensor<4096xf32>)
      -> (tensor<8x32xf32>, tensor<8x32xi32>) {
    %s3 = stablehlo.dot_general %q, %db, contracting_dims = [2] x [1]
         : (tensor<3x8x300xbf16>, tensor<4096x300xbf16>) -> tensor<3x8x4096xf32>
    %zero = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %s = stablehlo.reduce(%s3 init: %zero) applies stablehlo.add across dimensions = [0]
         : (tensor<3x8x4096xf32>, tensor<f32>) -> tensor<8x4096xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<4096xf32>) -> tensor<8x4096xf32>
    %t = stablehlo.add %s, %b : tensor<8x4096xf32>
    %x = stablehlo.iota dim = 1 : tensor<8x4096xi32>
    %o:2 = "stablehlo.sort"(%t, %x) <{dimension = 1 : i64, is_stable = false}> ({
      ^bb0(%a: tensor<f32>, %c: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>):
        %gt = stablehlo.compare GT, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %eq = stablehlo.compare EQ, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %lt = stablehlo.compare LT, %i, %j, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
        %e2 = stablehlo.and %eq, %lt : tensor<i1>
        %p = stablehlo.or %gt, %e2 : tensor<i1>
        stablehlo.return %p : tensor<i1>
    }) : (tensor<8x4096xf32>, tensor<8x4096xi32>) -> (tensor<8x4096xf32>, tensor<8x4096xi32>)
    %ov = stablehlo.slice %o#0 [0:8, 0:32] : (tensor<8x4096xf32>) -> tensor<8x32xf32>
    %ox = stablehlo.slice %o#1 [0:8, 0:32] : (tensor<8x4096xi32>) -> tensor<8x32xi32>
    return %ov, %ox : tensor<8x32xf32>, tensor<8x32xi32>
  }
}
