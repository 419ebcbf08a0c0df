// vindex approx type=bf16 terms=1 q=64 n=131072 d=128 k=10 bins=1 recall=9.499999881e-01 override=1048576
module @vindex_approx {
  func.func @gt(%a: tensor<f32>, %b: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>) -> tensor<i1> {
    %p = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    return %p : tensor<i1>
  }
  func.func public @main(%q: tensor<64x128xbf16>, %db: tensor<131072x128xbf16>, %bias: tensor<131072xf32>)
      -> (tensor<64x10xf32>, tensor<64x10xi32>) {
    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1]
         : (tensor<64x128xbf16>, tensor<131072x128xbf16>) -> tensor<64x131072xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<131072xf32>) -> tensor<64x131072xf32>
    %t = stablehlo.add %s, %b : tensor<64x131072xf32>
    %x = stablehlo.iota dim = 1 : tensor<64x131072xi32>
    %v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %x0 = stablehlo.constant dense<-1> : tensor<i32>
    %r:2 = stablehlo.custom_call @ApproxTopK(%t, %x, %v0, %x0) {called_computations = [@gt],
      mhlo.backend_config = {aggregate_to_topk = true, recall_target = 9.499999881e-01 : f32, reduction_dim = 1 : i64,
        reduction_input_size_override = 1048576 : i64, top_k = 10 : i64}}
         : (tensor<64x131072xf32>, tensor<64x131072xi32>, tensor<f32>, tensor<i32>) -> (tensor<64x10xf32>, tensor<64x10xi32>)
    return %r#0, %r#1 : tensor<64x10xf32>, tensor<64x10xi32>
  }
}
