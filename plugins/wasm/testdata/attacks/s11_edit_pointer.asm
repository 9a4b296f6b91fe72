; want: lies outside
export func stagepost_hook i32 -> i64
i32.const 0 i32.const 2 i32.const 0 i32.const 0x7fffff00 i32.const 100 call edit drop i64.const 0
