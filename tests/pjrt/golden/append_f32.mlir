// vindex append type=f32 terms=1 q=1024 n=131072 d=128 k=1 bins=1 recall=1.000000000e+00 override=-1
module @vindex_append {
  func.func public @main(%db: tensor<131072x128xf32>, %new: tensor<1024x128xf32>, %at: tensor<i32>)
      -> tensor<131072x128xf32> {
    %z = stablehlo.constant dense<0> : tensor<i32>
    %r = stablehlo.dynamic_update_slice %db, %new, %at, %z
         : (tensor<131072x128xf32>, tensor<1024x128xf32>, tensor<i32>, tensor<i32>) -> tensor<131072x128xf32>
    return %r : tensor<131072x128xf32>
  }
}
