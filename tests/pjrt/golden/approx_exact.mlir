// vindex approx type=f32 terms=1 q=1 n=1024 d=2 k=3 bins=1 recall=1.000000000e+00 override=-1
module @vindex_approx {
  func.func @gt(%a: tensor<f32>, %b: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>) -> tensor<i1> {
    %p = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    return %p : tensor<i1>
  }
  func.func public @main(%q: tensor<1x2xf32>, %db: tensor<1024x2xf32>, %bias: tensor<1024xf32>)
      -> (tensor<1x3xf32>, tensor<1x3xi32>) {
    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST]
         : (tensor<1x2xf32>, tensor<1024x2xf32>) -> tensor<1x1024xf32>
    %b = stablehlo.broadcast_in_dim %bias, dims = [1] : (tensor<1024xf32>) -> tensor<1x1024xf32>
    %t = stablehlo.add %s, %b : tensor<1x1024xf32>
    %x = stablehlo.iota dim = 1 : tensor<1x1024xi32>
    %v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %x0 = stablehlo.constant dense<-1> : tensor<i32>
    %r:2 = stablehlo.custom_call @ApproxTopK(%t, %x, %v0, %x0) {called_computations = [@gt],
      mhlo.backend_config = {aggregate_to_topk = true, recall_target = 1.000000000e+00 : f32, reduction_dim = 1 : i64,
        reduction_input_size_override = -1 : i64, top_k = 3 : i64}}
         : (tensor<1x1024xf32>, tensor<1x1024xi32>, tensor<f32>, tensor<i32>) -> (tensor<1x3xf32>, tensor<1x3xi32>)
    return %r#0, %r#1 : tensor<1x3xf32>, tensor<1x3xi32>
  }
}
