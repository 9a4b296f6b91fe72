; want: ran out of instructions
; stage: data
; needs: read = "body"
export func stagepost_hook i32 -> i64
loop i32.const 0 i64.const 0 i32.const 4096 i32.const 4096 call content_read drop br 0 end i64.const 0
