; want: private
; needs: net = ["*:*"]
data 2000 "net.open"
data 3000 "\x81k10.0.0.1:25"
export func stagepost_hook i32 -> i64
i32.const 2000 i32.const 8 i32.const 3000 i32.const 13 call svc
