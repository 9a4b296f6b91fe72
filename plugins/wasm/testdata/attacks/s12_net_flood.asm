; want: net.open
; needs: net = ["*:*"]
data 2000 "net.open"
data 3000 "\x81k10.0.0.1:25"
export func stagepost_hook i32 -> i64
locals i32
loop i32.const 2000 i32.const 8 i32.const 3000 i32.const 13 call svc drop local.get 1 i32.const 1 i32.add local.tee 1 i32.const 1000 i32.lt_u br_if 0 end i32.const 2000 i32.const 8 i32.const 3000 i32.const 13 call svc
