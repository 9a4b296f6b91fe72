; want: a buffer of 1000 bytes at 2147483632 lies outside
export func stagepost_hook i32 -> i64
i32.const 0 i32.const 0 i32.const 0 i32.const 0x7ffffff0 i32.const 1000 call field drop i64.const 0
