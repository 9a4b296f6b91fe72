; want: data gave up (-4)
; stage: data
; needs: edit = ["rcpts"], relay = true
data 3000 "\x82mu@example.neterelay"
export func stagepost_hook i32 -> i64
loop i32.const 5 i32.const 2 i32.const 0 i32.const 3000 i32.const 21 call edit i32.eqz br_if 0 end i64.const -4
