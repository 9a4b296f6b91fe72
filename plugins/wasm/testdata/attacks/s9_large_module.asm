; want: byte
; size: 50000000
export func stagepost_hook i32 -> i64
i64.const 0
