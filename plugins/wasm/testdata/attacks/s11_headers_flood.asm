; want: ran out of instructions
; stage: data
; needs: read = "headers"
data 2200 "X-A"
export func stagepost_hook i32 -> i64
loop i32.const 2200 i32.const 3 i32.const 1 i32.const 0 i32.const 0 call header drop br 0 end i64.const 0
