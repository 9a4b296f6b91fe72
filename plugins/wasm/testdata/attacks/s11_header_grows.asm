; want: data gave up
; stage: data
; needs: edit = ["headers"]
data 3000 "\x82cX-Ax\xc8vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"
export func stagepost_hook i32 -> i64
loop i32.const 1 i32.const 2 i32.const 0 i32.const 3000 i32.const 207 call edit i32.eqz br_if 0 end i64.const -4
