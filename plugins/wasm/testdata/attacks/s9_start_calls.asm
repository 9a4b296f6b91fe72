; want: the start function may not call the server
start f
export func stagepost_hook i32 -> i64
i64.const 0
func f
i32.const 0 i32.const 0 i32.const 1 call log
