; want: a name of -1 bytes
export func stagepost_hook i32 -> i64
i32.const 0 i32.const -1 i32.const 1 i32.const 0 i32.const 0 call header drop i64.const 0
