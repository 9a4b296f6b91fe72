; want: a name of 10 bytes at 2147483647 lies outside
export func stagepost_hook i32 -> i64
i32.const 0x7fffffff i32.const 10 i32.const 1 i32.const 0 i32.const 0 call header drop i64.const 0
